package discovery

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// maxFile bounds the size of a file that is read.
const maxFile = 64 << 20

// fileSettled is when contents are believed to be those of a modification time:
// some file systems count it in steps of 2 s, so a write within one leaves no
// other trace.
const fileSettled = 2 * time.Second

// fileContents are what was read of a file last. The zero value has read nothing.
type fileContents struct {
	info    os.FileInfo // when it was read, nil if that failed
	seen    time.Time   // when info was seen first
	settled bool        // it was read so late after seen that info tells of each change
	digest  []byte      // of what was read
	table   *fileTable  // of the last good contents, or nil
	err     error       // what is wrong with those read last
}

// look returns the table of the last good contents, and why there is no newer
// one. It reads the file if it changed, or may have.
func (c *fileContents) look(path string) (*fileTable, error) {
	info, err := os.Stat(path)
	if err == nil {
		err = checkRegular(path, info)
	}
	if err != nil {
		return c.failed(err)
	}
	if c.settled && c.unchanged(info) {
		return c.table, c.err
	}
	began := time.Now()
	data, info, err := readFile(path)
	if err != nil {
		return c.failed(err)
	}
	if !c.unchanged(info) {
		c.info, c.seen = info, began
	}
	// By our own clock alone: the file system's may be another machine's.
	c.settled = began.Sub(c.seen) >= fileSettled
	if digest := sha256.Sum256(data); !bytes.Equal(digest[:], c.digest) {
		c.digest = digest[:]
		c.decode(path, data)
	}
	return c.table, c.err
}

func (c *fileContents) failed(err error) (*fileTable, error) {
	c.info, c.settled = nil, false
	// Which step found it does not matter: it is the same trouble.
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		err = fmt.Errorf("file %s: %w", p.Path, p.Err)
	}
	return c.table, fmt.Errorf("discovery: %w", err)
}

func (c *fileContents) unchanged(info os.FileInfo) bool {
	return c.info != nil && c.info.Size() == info.Size() && c.info.ModTime().Equal(info.ModTime()) && os.SameFile(c.info, info)
}

func (c *fileContents) decode(path string, data []byte) {
	table, err := decodeFile(data)
	if err != nil {
		c.err = fmt.Errorf("discovery: file %s: %w", path, err)
		return
	}
	c.table, c.err = table, nil
}

// readFile returns a file's contents, and what was known of it before they were
// read: what is written meanwhile shows at the next look.
func readFile(path string) ([]byte, os.FileInfo, error) {
	// To open a FIFO waits for its writer, unless it must not. That it is none
	// was checked before, but may have changed.
	f, err := os.OpenFile(path, os.O_RDONLY|openWithoutWaiting, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		err = checkRegular(path, info)
	}
	if err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("file %s is larger than %d MiB", path, maxFile>>20)
	}
	return data, info, err
}

func checkRegular(path string, info os.FileInfo) error {
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("file %s is of mode %v, want a regular file", path, info.Mode())
	case info.Size() > maxFile:
		return fmt.Errorf("file %s is larger than %d MiB", path, maxFile>>20)
	}
	return nil
}
