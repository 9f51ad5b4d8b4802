package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// benchMachine describes where a benchmark ran.
type benchMachine struct {
	CPU         string `json:"cpu"`
	Cores       int    `json:"cores"`
	MemoryBytes uint64 `json:"memory_bytes"`
	Kernel      string `json:"kernel"`
	FileSystem  string `json:"file_system"` // of the server's directory; empty for a server elsewhere
	Go          string `json:"go"`
	Maru        string `json:"maru"`
}

// describeMachine returns what is known of this machine and of the file system
// that holds dir; what the system does not tell stays empty.
func describeMachine(dir string) benchMachine {
	m := benchMachine{
		Cores: runtime.NumCPU(),
		Go:    runtime.Version(),
		Maru:  readBuild().String(),
	}
	m.CPU = procField("/proc/cpuinfo", "model name")
	if kib, ok := strings.CutSuffix(procField("/proc/meminfo", "MemTotal"), " kB"); ok {
		if n, err := strconv.ParseUint(kib, 10, 64); err == nil {
			m.MemoryBytes = n << 10
		}
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = runtime.GOOS + " " + string(bytes.TrimSpace(release))
	}
	if dir != "" {
		if mounts, err := os.ReadFile("/proc/self/mounts"); err == nil {
			m.FileSystem = fileSystem(mounts, dir)
		}
	}
	return m
}

// fileSystem returns the type of the file system that holds dir, given the
// content of /proc/self/mounts: the one with the longest mount point above dir.
func fileSystem(mounts []byte, dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		dir = resolved
	}
	kind, longest := "", -1
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		point := strings.ReplaceAll(fields[1], `\040`, " ")
		prefix := strings.TrimSuffix(point, "/") + "/"
		if strings.HasPrefix(dir+"/", prefix) && len(point) >= longest {
			kind, longest = fields[2], len(point)
		}
	}
	return kind
}

// volatileFS says whether a file system forgets everything at a power cut, so
// that a sync costs nothing and means nothing.
func volatileFS(kind string) bool { return kind == "tmpfs" || kind == "ramfs" }

// procField returns the value of the first line "name: value" of a file, or "".
func procField(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // only read
	for s := bufio.NewScanner(f); s.Scan(); {
		key, value, ok := strings.Cut(s.Text(), ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// processPeakBytes returns the most memory that a process has had, or false
// where the system does not tell.
func processPeakBytes(pid int) (uint64, bool) {
	kib, ok := strings.CutSuffix(procField(fmt.Sprintf("/proc/%d/status", pid), "VmHWM"), " kB")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(kib, 10, 64)
	return n << 10, err == nil
}

// clockTick is the unit of the times in /proc/<pid>/stat: 1/USER_HZ, which is
// 100 on every architecture that Go runs Linux on.
const clockTick = time.Second / 100

// processCPU returns the processor time that a process has used, or false where
// the system does not tell.
func processCPU(pid int) (time.Duration, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	return parseStatCPU(stat)
}

// parseStatCPU adds fields 14 and 15 of proc_pid_stat(5), utime and stime. The
// second field, the program's name, may hold anything but ends with the last ")".
func parseStatCPU(stat []byte) (time.Duration, bool) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const utime, stime = 14 - 3, 15 - 3 // counted from the third field
	if len(fields) <= stime {
		return 0, false
	}
	user, err1 := strconv.ParseInt(string(fields[utime]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[stime]), 10, 64)
	return time.Duration(user+system) * clockTick, err1 == nil && err2 == nil
}

// ownCPU returns the processor time that this process has used.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
