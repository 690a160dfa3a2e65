//go:build !unix && !windows

package discovery

// openWithoutWaiting is nothing where there are no FIFOs.
const openWithoutWaiting = 0
