//go:build unix || windows

package discovery

import "syscall"

// openWithoutWaiting keeps an open of a FIFO from waiting for its writer.
const openWithoutWaiting = syscall.O_NONBLOCK
