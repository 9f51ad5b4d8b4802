// Package reload keeps values that are read from files up to date: certificates
// and API keys can be changed while the process runs.
package reload

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// CheckEvery is how often at most the files are looked at.
const CheckEvery = time.Second

// Value is a value that was read from files and is read again after one of them
// changed. It is safe for concurrent use.
type Value[T any] struct {
	load    func() (T, error)
	failed  func(error)
	names   []string
	next    atomic.Int64 // time of the next look, in nanoseconds since 1970
	current atomic.Pointer[version[T]]
}

// version is a value and the state of the files before they were read for it.
type version[T any] struct {
	value T
	files []os.FileInfo
}

// New reads a value with load, which reads the named files. Whenever a later
// reading is refused, failed is called and the last good value stays in use.
func New[T any](load func() (T, error), failed func(error), names ...string) (*Value[T], error) {
	v := &Value[T]{load: load, failed: failed, names: names}
	files, err := v.stat()
	if err != nil {
		return nil, err
	}
	value, err := load()
	if err != nil {
		return nil, err
	}
	v.current.Store(&version[T]{value, files})
	v.next.Store(time.Now().Add(CheckEvery).UnixNano())
	return v, nil
}

// Get returns the value. Of the callers that find a look at the files due, one
// looks and the others go on with the value that is there.
func (v *Value[T]) Get() T {
	now, due := time.Now(), v.next.Load()
	if now.UnixNano() >= due && v.next.CompareAndSwap(due, now.Add(CheckEvery).UnixNano()) {
		if err := v.check(); err != nil {
			v.failed(err)
		}
	}
	return v.current.Load().value
}

// check reads the value again if a file changed. A version that was refused is
// tried again at every look: what is wrong may be the file's permissions.
func (v *Value[T]) check() error {
	files, err := v.stat()
	if err != nil {
		return err
	}
	if same(files, v.current.Load().files) {
		return nil
	}
	value, err := v.load()
	if err != nil {
		return fmt.Errorf("read again what changed: %w", err)
	}
	v.current.Store(&version[T]{value, files})
	return nil
}

func (v *Value[T]) stat() ([]os.FileInfo, error) {
	files := make([]os.FileInfo, len(v.names))
	for i, name := range v.names {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		files[i] = info
	}
	return files, nil
}

// same says whether no file was replaced or written to in between.
func same(a, b []os.FileInfo) bool {
	for i := range a {
		if !os.SameFile(a[i], b[i]) || !a[i].ModTime().Equal(b[i].ModTime()) || a[i].Size() != b[i].Size() {
			return false
		}
	}
	return true
}
