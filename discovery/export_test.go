package discovery

// MaxFile and MaxFileEntries bound a file.
const (
	MaxFile        = maxFile
	MaxFileEntries = maxFileEntries
)

// DecodeFile returns what a file says.
func DecodeFile(data []byte) (map[string][]Endpoint, error) {
	table, err := decodeFile(data)
	if err != nil {
		return nil, err
	}
	return table.services, nil
}

// Waking returns how many names have watches that Refresh would wake.
func (h *Held) Waking() int {
	return h.wakers.Len()
}
