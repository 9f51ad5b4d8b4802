package rsmarchive_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/vfs"
)

// A history is archived, a checkpoint of it is signed, and both are verified.
func Example() {
	ctx := context.Background()
	store := rsmarchive.NewDir(vfs.NewMem(), "archive")
	group := rsmarchive.Chained{Cluster: "bank", Group: 1}

	w, err := rsmarchive.OpenWriter(ctx, store, group, nil)
	if err != nil {
		panic(err)
	}
	for w.Next() <= 3 { // in a process that runs, an Archiver does this
		d := rsm.Decided{Index: w.Next(), Term: 1, Time: int64(w.Next())}
		d.Entry = rsm.AppendEntry(nil, d.Time, []*rsm.Proposal{{Data: []byte("transfer")}})
		d.Decision = rsm.AppendDecision(nil, []rsm.DecidedBatch{{Results: []byte{1}, Effects: []byte("balance")}})
		if err := w.Append(&d); err != nil {
			panic(err)
		}
	}
	if err := w.Seal(ctx); err != nil {
		panic(err)
	}

	private, public, err := rsmarchive.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	signer, err := rsmarchive.NewSigner("bank", private)
	if err != nil {
		panic(err)
	}
	point := rsmarchive.Checkpoint{Cluster: "bank", Made: time.Now(), Groups: []rsmarchive.Checked{{Group: 1, At: w.Sealed()}}}
	signed, err := point.Sign(signer)
	if err != nil {
		panic(err)
	}

	verifier, err := rsmarchive.NewVerifier("bank", public)
	if err != nil {
		panic(err)
	}
	known, err := rsmarchive.ParseCheckpoint(signed, verifier)
	if err != nil {
		panic(err)
	}
	archive, err := rsmarchive.Open(ctx, store, group, nil)
	if err != nil {
		panic(err)
	}
	report, err := archive.Verify(ctx, &rsmarchive.VerifyOptions{Expected: known.Expected(1, "the checkpoint")})
	if err != nil {
		panic(err)
	}
	fmt.Println(report.Entries, "entries, found:", report.Found, "as the checkpoint says:", len(report.Matched) == 1)
	// Output: 3 entries, found: 0 as the checkpoint says: true
}
