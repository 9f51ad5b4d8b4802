//go:build unix && !linux

package vfs

import "syscall"

func datasync(fd int) error { return syscall.Fsync(fd) }
