package wal_test

import (
	"errors"
	"fmt"
	"io"

	"maru.example/vfs"
	"maru.example/wal"
)

func Example() {
	l, err := wal.Open(vfs.NewMem(), "data/log", nil) // vfs.OS() for the real disk
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	if _, err := l.Append(wal.Record{[]byte("made of "), []byte("parts")}, wal.Record{[]byte("whole")}); err != nil {
		fmt.Println(err)
		return
	}
	r, err := l.Reader(l.First())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close()
	for {
		index, record, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%d: %s\n", index, record)
	}
	// Output:
	// 1: made of parts
	// 2: whole
}
