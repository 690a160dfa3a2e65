//go:build !unix

package fairlead

func defaultMaxIdle() int { return maxIdleUnknown }
