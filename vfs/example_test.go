package vfs_test

import (
	"fmt"

	"maru.example/vfs"
)

func Example() {
	disk := vfs.NewMem() // or vfs.OS()
	f, err := disk.Open("greeting", vfs.Create)
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := f.WriteAt([]byte("hello"), 0); err != nil {
		fmt.Println(err)
		return
	}
	if err := f.Sync(); err != nil { // the content is durable, the name not yet
		fmt.Println(err)
		return
	}
	disk.CrashClean()
	names, err := disk.List(".")
	fmt.Println(names, err)
	// Output: [] <nil>
}
