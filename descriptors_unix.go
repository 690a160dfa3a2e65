//go:build unix

package fairlead

import "syscall"

// defaultMaxIdle is a quarter of the file descriptors that the process may have.
func defaultMaxIdle() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return maxIdleUnknown
	}
	return int(min(max(uint64(limit.Cur)/4, 1), maxIdleMost)) //nolint:unconvert // signed on FreeBSD
}

const maxIdleMost = 1 << 20 // where the limit is infinite
