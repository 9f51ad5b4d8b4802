package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/vfs"
)

func verifyArchive(t *testing.T, args ...string) (v verdicts, err error) {
	t.Helper()
	out, _, err := runHere(t, append([]string{"wallet", "verify", "--json"}, args...)...)
	if out != "" {
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
	}
	return v, err
}

// verifyOfACutLog decides what is in the archive and what is in the log, as one.
func verifyOfACutLog(t *testing.T, a *archivedTest) {
	at := time.Now()
	v, err := verifyArchive(t, "--data", a.data)
	if err != nil || v.Wrong != 0 || len(v.Partitions) != 2 {
		t.Fatalf("%+v, %v", v, err)
	}
	for _, p := range v.Partitions {
		if p.FromSnapshot != 0 || p.Archived == 0 || p.Segments < 2 || p.Entries <= p.Archived || p.Head == "" || len(p.Notes) > 0 || len(p.Snapshots) == 0 || p.Compared == 0 {
			t.Errorf("%+v", p)
		}
	}
	alone, err := verifyArchive(t, "--data", "none", "--archive", a.place)
	if err != nil || len(alone.Partitions) != 2 {
		t.Fatalf("%+v, %v", alone, err)
	}
	for i, p := range alone.Partitions {
		if p.Entries != v.Partitions[i].Archived || p.FromSnapshot != 0 {
			t.Errorf("the archive alone: %+v", p)
		}
	}
	without, err := verifyArchive(t, "--data", a.data, "--archive", "none", "--partial")
	if err != nil || len(without.Partitions[0].Missing) != 1 || without.Partitions[0].FromSnapshot == 0 || without.Partitions[0].Head != "" {
		t.Errorf("the log alone: %+v, %v", without, err)
	}
	r, err := runReplay(t, a.data)
	if err != nil || r.Different != 0 || r.Unrecorded != 0 {
		t.Errorf("replay: %+v, %v", r, err)
	}
	out, _, err := runHere(t, "wallet", "balance", "b", "--at", at.Format(time.RFC3339Nano), "--data", a.data)
	if err != nil || !strings.Contains(out, "EUR") {
		t.Errorf("balance: %s, %v", out, err)
	}
	early := v.Partitions[1].From.Add(time.Millisecond).Format(time.RFC3339Nano)
	if _, _, err := runHere(t, "wallet", "balance", "b", "--at", early, "--archive", a.place); err == nil || !strings.Contains(err.Error(), "was not open") {
		t.Errorf("balance before it was opened: %v", err)
	}
}

// whatIsNotThere removes whole parts: none of it is as it should be.
func whatIsNotThere(t *testing.T, a *archivedTest) {
	dir := t.TempDir()
	place, data := filepath.Join(dir, "archive"), filepath.Join(dir, "data")
	for from, to := range map[string]string{a.place: place, a.data: data} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	late := time.Now().Format(time.RFC3339Nano)
	refused := func(want string, args ...string) {
		t.Helper()
		if _, _, err := runHere(t, append([]string{"wallet"}, args...)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", args, err, want)
		}
	}
	refused("what came later is not in it yet", "balance", "b", "--at", late, "--archive", place)
	if out, _, err := runHere(t, "wallet", "balance", "b", "--at", late, "--data", data, "--archive", place, "--json"); err != nil || !strings.Contains(out, `"ends"`) {
		t.Errorf("balance behind the end: %s, %v", out, err)
	}
	for _, period := range [][]string{nil, {"--until", late}, {"--from", "2000-01-01"}} { // none of them opens with what a snapshot has
		refused("with a snapshot: what was before was cut", append([]string{"export", "--data", data, "--archive", "none"}, period...)...)
	}
	refused("there is nothing of one", "verify", "--data", data, "--archive", filepath.Join(dir, "other"))
	if err := os.RemoveAll(filepath.Join(place, "00000002")); err != nil {
		t.Fatal(err)
	}
	refused("nothing is here of partition 1, of 2", "verify", "--data", "none", "--archive", place)
	refused("nothing is here of partition 1, of 2", "replay", "--data", "none", "--archive", place)
	if v, err := verifyArchive(t, "--data", "none", "--archive", place, "--partial"); err != nil || len(v.Partitions) != 1 {
		t.Errorf("a part: %+v, %v", v, err)
	}
	v, err := verifyArchive(t, "--data", data, "--archive", place)
	if err == nil || !strings.Contains(fmt.Sprint(v.Partitions), "are neither in the log nor in the archive") {
		t.Errorf("a partition's segments are gone: %+v, %v", v, err)
	}
	if err := os.RemoveAll(filepath.Join(data, logName, "log")); err != nil {
		t.Fatal(err)
	}
	refused("there is no log", "verify", "--data", data, "--archive", a.place)
	refused("there is no log", "verify", "--data", data, "--archive", "none")
}

// segments returns the files of a partition's segments.
func segments(t *testing.T, place string, group int) []string {
	t.Helper()
	return files(t, place, fmt.Sprintf("%08d/*.seg", group))
}

// damageOfTheArchive changes an archive in many ways: each is named, by segment and entries.
func damageOfTheArchive(t *testing.T, a *archivedTest) {
	tests := []struct {
		name   string
		damage func(t *testing.T, place string)
		want   []string
	}{
		{
			"a bit of a frame", func(t *testing.T, place string) { flipByte(t, segments(t, place, 1)[1], 150) },
			[]string{"archive: altered: entries ", "frame 0 of segment 0000"},
		},
		{"a bit of a header", func(t *testing.T, place string) { flipByte(t, segments(t, place, 1)[1], 50) }, []string{"altered: entries "}},
		{"a bit of the last footer", func(t *testing.T, place string) {
			s := segments(t, place, 2)
			last := s[len(s)-1]
			info, err := os.Stat(last)
			if err != nil {
				t.Fatal(err)
			}
			flipByte(t, last, int(info.Size())-20)
		}, []string{"altered: entries from "}},
		{
			"a segment is missing", func(t *testing.T, place string) { mustRemove(t, segments(t, place, 1)[1]) },
			[]string{"missing: entries "},
		},
		{"the first is missing", func(t *testing.T, place string) { mustRemove(t, segments(t, place, 1)[0]) }, []string{"missing: entries 1 to "}},
		{"the last is missing", func(t *testing.T, place string) {
			s := segments(t, place, 1)
			for _, name := range s[1:] {
				mustRemove(t, name)
			}
		}, []string{"which had entries up to"}},
		{"a segment twice", func(t *testing.T, place string) {
			s := segments(t, place, 1)
			copyFile(t, s[1], filepath.Join(filepath.Dir(s[1]), fmt.Sprintf("%020d.seg", 7_000_000)))
		}, []string{"7000000.seg"}},
		{"a segment of the other partition", func(t *testing.T, place string) {
			other := segments(t, place, 2)
			copyFile(t, other[0], segments(t, place, 1)[0])
		}, []string{"of another cluster or group"}},
		{"a file", func(t *testing.T, place string) {
			copyFile(t, segments(t, place, 1)[0], filepath.Join(place, "00000001", "more"))
		}, []string{"inserted: segment more"}},
		{"an entry, and the chain made anew", func(t *testing.T, place string) { forge(t, a, place) }, []string{"the log does not go on where the archive ends|decided otherwise"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			place := filepath.Join(t.TempDir(), "archive")
			if err := os.CopyFS(place, os.DirFS(a.place)); err != nil {
				t.Fatal(err)
			}
			tt.damage(t, place)
			v, err := verifyArchive(t, "--data", a.data, "--archive", place)
			if f, ok := errors.AsType[*failure](err); !ok || f.status != exitFailed || v.Wrong == 0 {
				t.Fatalf("got %+v, %v", v, err)
			}
			said := fmt.Sprint(v.Partitions)
			for _, want := range tt.want {
				if !slices.ContainsFunc(strings.Split(want, "|"), func(w string) bool { return strings.Contains(said, w) }) {
					t.Errorf("it does not say %q: %s", want, said)
				}
			}
		})
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// forge writes the archive of partition 0 anew, with another result of a command, and all checksums and links right.
func forge(t *testing.T, a *archivedTest, place string) {
	t.Helper()
	rewrite(t, a, place, func(w *rsmarchive.Writer, d *rsm.Decided) error {
		forged := *d
		if d.Index == 10 {
			forged.Decision = slices.Clone(d.Decision)
			forged.Decision[len(forged.Decision)-1] ^= 1
		}
		return w.Append(&forged)
	})
}

// rewrite writes the archive of partition 0 anew, in another place.
func rewrite(t *testing.T, a *archivedTest, place string, add func(*rsmarchive.Writer, *rsm.Decided) error) {
	t.Helper()
	id, err := loadIdentity(a.data)
	if err != nil {
		t.Fatal(err)
	}
	of := id.chained(0)
	from, err := rsmarchive.Open(t.Context(), rsmarchive.NewDir(vfs.OS(), a.place), of, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range segments(t, place, 1) {
		mustRemove(t, name)
	}
	w, err := rsmarchive.OpenWriter(t.Context(), rsmarchive.NewDir(vfs.OS(), place), of, &rsmarchive.WriterOptions{SegmentBytes: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	err = from.Read(t.Context(), 1, 0, func(d *rsm.Decided) error {
		if err := add(w, d); err != nil {
			return err
		}
		if w.Full() {
			return w.Seal(context.Background())
		}
		return nil
	})
	if err := errors.Join(err, w.Seal(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// archiveWithAGap is that of a replica that began with another's snapshot.
func archiveWithAGap(t *testing.T, a *archivedTest) {
	const behind = 15
	place := filepath.Join(t.TempDir(), "archive")
	if err := os.CopyFS(place, os.DirFS(a.place)); err != nil {
		t.Fatal(err)
	}
	rewrite(t, a, place, func(w *rsmarchive.Writer, d *rsm.Decided) error {
		if d.Index == behind {
			if err := errors.Join(w.Seal(context.Background()), w.Gap(behind)); err != nil {
				return err
			}
		}
		if d.Index > 1 && d.Index < behind {
			return nil
		}
		return w.Append(d)
	})
	key := filepath.Join(t.TempDir(), "key")
	for _, args := range [][]string{{"wallet", "checkpoint-key", key}, {"wallet", "checkpoint", "--data", "none", "--archive", a.place, "--key", key, "--out", key + ".checkpoint"}} {
		if _, _, err := runHere(t, args...); err != nil {
			t.Fatal(args, err)
		}
	}
	v, err := verifyArchive(t, "--data", "none", "--archive", place, "--checkpoint", key+".checkpoint", "--public-key", key+".pub")
	if failureOf(err).status != exitUnchecked || v.Wrong > 0 || !strings.Contains(fmt.Sprint(v.Partitions[0].Unchecked), "lacks entries 2 to 14: this cannot be compared") {
		t.Errorf("a checkpoint of before the gap: %+v, %v", v, err)
	}
	if v, err := verifyArchive(t, "--data", "none", "--archive", place); failureOf(err).status != exitFailed || v.Wrong > 0 || len(v.Partitions[0].Missing) != 1 {
		t.Errorf("the archive alone: %+v, %v", v, err)
	}
	if v, err := verifyArchive(t, "--data", a.data, "--archive", place); failureOf(err).status != exitFailed || v.Wrong > 0 || len(v.Partitions[0].Missing) != 1 {
		t.Errorf("not --partial: %+v, %v", v, err)
	}
	v, err = verifyArchive(t, "--data", a.data, "--archive", place, "--partial")
	if err != nil {
		t.Fatalf("%+v, %v", v, err)
	}
	p := v.Partitions[0]
	if p.FromSnapshot < behind-1 || p.Entries == 0 || p.Head == "" || !strings.Contains(fmt.Sprint(p.Notes), "gap: entries 2 to 14 could not be archived") {
		t.Errorf("%+v", p)
	}
	if _, err := runReplay(t, a.data, "--archive", place); err == nil || !strings.Contains(err.Error(), "begins with the snapshot") {
		t.Errorf("replay, not --partial: %v", err)
	}
	r, err := runReplay(t, a.data, "--archive", place, "--partial")
	if err != nil || r.Different != 0 || r.Partitions[0].FromSnapshot == 0 || r.Partitions[1].FromSnapshot != 0 {
		t.Errorf("replay: %+v, %v", r, err)
	}
}

// TestVerifyWithTheWholeLog has archive and log side by side.
func TestVerifyWithTheWholeLog(t *testing.T) {
	o := serveOptions{wholeLog: true}
	a := newArchivedTest(t, o)
	a.live(250)
	a.stop()
	older, ids := a.copy(t), a.ids
	a.start(t, a.data, o)
	a.ids = ids
	a.busy(20)
	a.sealed()
	a.stop()
	v, err := verifyArchive(t, "--data", a.data)
	if err != nil || v.Wrong != 0 || v.Partitions[0].Both == 0 || v.Partitions[1].Both == 0 {
		t.Fatalf("%+v, %v", v, err)
	}
	whole := v.Partitions
	t.Run("forged", func(t *testing.T) {
		place := filepath.Join(t.TempDir(), "archive")
		if err := os.CopyFS(place, os.DirFS(a.place)); err != nil {
			t.Fatal(err)
		}
		forge(t, a, place)
		v, err := verifyArchive(t, "--data", a.data, "--archive", place)
		if err == nil || !strings.Contains(fmt.Sprint(v.Partitions), "entry 10 of the archive is not as in the log") {
			t.Errorf("got %+v, %v", v, err)
		}
	})
	t.Run("an entry of another time", func(t *testing.T) {
		place := filepath.Join(t.TempDir(), "archive")
		if err := os.CopyFS(place, os.DirFS(a.place)); err != nil {
			t.Fatal(err)
		}
		rewrite(t, a, place, func(w *rsmarchive.Writer, d *rsm.Decided) error {
			forged := *d
			if d.Index == 10 {
				forged.Time++
			}
			return w.Append(&forged)
		})
		v, err := verifyArchive(t, "--data", "none", "--archive", place)
		if err == nil || !strings.Contains(fmt.Sprint(v.Partitions), "the first in entry 10: it was of ") {
			t.Errorf("got %+v, %v", v, err)
		}
	})
	t.Run("the log lost its end", func(t *testing.T) {
		v, err := verifyArchive(t, "--data", older.data, "--archive", a.place)
		if err == nil || !strings.Contains(fmt.Sprint(v.Partitions[0].Wrong), "it lost what was decided") {
			t.Errorf("got %+v, %v", v, err)
		}
	})
	t.Run("the last segment is gone, and in the log", func(t *testing.T) {
		record, err := openArchiveRecord(a.data)
		if err != nil {
			t.Fatal(err)
		}
		had := fmt.Sprintf("%020d", record.had(0).Index)
		gone := map[string]string{}
		name := "" // of the segment that ended with the entry that was noted: one more may have been archived since
		for _, one := range segments(t, a.place, 1) {
			if filepath.Base(one) <= had {
				name = one
			}
		}
		for _, one := range segments(t, a.place, 1) {
			if one >= name {
				gone[one] = mustRead(t, one)
				mustRemove(t, one)
			}
		}
		v, err := verifyArchive(t, "--data", a.data)
		said := fmt.Sprint(v.Partitions[0].Wrong)
		if err == nil || v.Partitions[0].Entries != whole[0].Entries || !strings.Contains(said, "archive: missing: entries ") || !strings.Contains(said, filepath.Base(name)+" on: archived.json says") || !strings.Contains(said, "the log has them") {
			t.Errorf("got %+v, %v", v, err)
		}
		other := filepath.Join(t.TempDir(), "copy") // an older copy of the archive lost nothing
		if err := os.CopyFS(other, os.DirFS(a.place)); err != nil {
			t.Fatal(err)
		}
		if v, err := verifyArchive(t, "--data", a.data, "--archive", other); err != nil || !strings.Contains(fmt.Sprint(v.Partitions[0].Notes), "had archived all up to") {
			t.Errorf("another copy: %+v, %v", v, err)
		}
		for one, content := range gone {
			mustWrite(t, one, content)
		}
	})
	t.Run("what is missing is in the log", func(t *testing.T) {
		mustRemove(t, segments(t, a.place, 1)[1])
		v, err := verifyArchive(t, "--data", a.data)
		if err == nil || v.Partitions[0].Entries != whole[0].Entries || v.Partitions[0].FromSnapshot != 0 || !strings.Contains(fmt.Sprint(v.Partitions[0].Wrong), "missing") {
			t.Errorf("got %+v, %v", v, err)
		}
	})
}

// checkpointOfACutLog signs where the chains are, and finds what was changed and made anew before that.
func checkpointOfACutLog(t *testing.T, a *archivedTest) {
	dir := t.TempDir()
	key, checkpoint := filepath.Join(dir, "key"), filepath.Join(dir, "checkpoint")
	for _, args := range [][]string{
		{"wallet", "checkpoint-key", key},
		{"wallet", "checkpoint", "--data", a.data, "--key", key, "--out", checkpoint},
	} {
		if _, _, err := runHere(t, args...); err != nil {
			t.Fatal(args, err)
		}
	}
	if _, _, err := runHere(t, "wallet", "checkpoint-key", key); err == nil {
		t.Error("keys were replaced")
	}
	both := []string{"--checkpoint", checkpoint, "--public-key", key + ".pub"}
	v, err := verifyArchive(t, append(both, "--data", a.data)...)
	if err != nil || len(v.Partitions[0].Matched) != 1 || len(v.Partitions[1].Matched) != 1 {
		t.Fatalf("%+v, %v", v, err)
	}
	text, err := os.ReadFile(checkpoint)
	if err != nil || !strings.Contains(string(text), v.Partitions[0].Head) {
		t.Errorf("%s, %v: want the head %s", text, err, v.Partitions[0].Head)
	}

	// The archive alone is behind its log: it may have been cut short, or not.
	v, err = verifyArchive(t, append(both, "--data", "none", "--archive", a.place)...)
	if failureOf(err).status != exitUnchecked || v.Wrong > 0 || !strings.Contains(fmt.Sprint(v.Partitions[0].Unchecked), "or was removed from its end") {
		t.Errorf("the archive alone: %+v, %v", v, err)
	}

	// Nobody else decides: a log that ends before a checkpoint lost its end.
	v, err = verifyLater(t, a.data)
	if failureOf(err).status != exitFailed || len(v.Partitions[1].Wrong) != 1 || !strings.Contains(v.Partitions[1].Wrong[0], "nobody but this node decides here: it lost its end, or is an older copy") {
		t.Errorf("a later checkpoint: %+v, %v", v, err)
	}

	// Without the archive nobody knows the chain of a log that was cut: that is not wrong.
	v, err = verifyArchive(t, append(both, "--data", a.data, "--archive", "none")...)
	if failureOf(err).status != exitUnchecked || v.Wrong > 0 {
		t.Errorf("without the archive: %+v, %v", v, err)
	}
	for _, p := range v.Partitions { // by where the files of the log were cut, its first entries may still be there
		if said := fmt.Sprint(p.Unchecked); len(p.Unchecked) != 1 || !strings.Contains(said, "there is no archive") && !strings.Contains(said, "cannot be compared") {
			t.Errorf("without the archive, partition %d: %q", p.Partition, said)
		}
	}

	// One of the archive alone, by a key of openssl, is enough for what is in it.
	if out, err := exec.CommandContext(t.Context(), "openssl", "genpkey", "-algorithm", "ed25519", "-out", key+"2").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.CommandContext(t.Context(), "openssl", "pkey", "-in", key+"2", "-pubout", "-out", key+"2.pub").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, _, err := runHere(t, "wallet", "checkpoint", "--data", "none", "--archive", a.place, "--key", key+"2", "--out", checkpoint+"2"); err != nil {
		t.Fatal(err)
	}
	of2 := []string{"--checkpoint", checkpoint + "2", "--public-key", key + "2.pub"}
	if v, err = verifyArchive(t, append(of2, "--data", a.data)...); err != nil || len(v.Partitions[0].Matched) != 1 {
		t.Fatalf("%+v, %v", v, err)
	}
	place := filepath.Join(dir, "archive")
	if err := os.CopyFS(place, os.DirFS(a.place)); err != nil {
		t.Fatal(err)
	}
	forge(t, a, place)
	v, err = verifyArchive(t, append(of2, "--data", "none", "--archive", place)...)
	if err == nil || !strings.Contains(fmt.Sprint(v.Partitions[0].Wrong), "checkpoint2 says") {
		t.Errorf("the forged archive: %+v, %v", v, err)
	}
	if err := os.RemoveAll(filepath.Join(place, "00000002")); err != nil {
		t.Fatal(err)
	}
	v, err = verifyArchive(t, append(of2, "--partial", "--data", "none", "--archive", place)...)
	if err == nil || len(v.Partitions) != 2 || !strings.Contains(fmt.Sprint(v.Partitions[1].Wrong), "nothing of this partition is here") {
		t.Errorf("a partition is missing: %+v, %v", v, err)
	}
	for _, bad := range [][]string{
		{"--checkpoint", checkpoint, "--public-key", key + "2.pub"},
		{"--checkpoint", checkpoint},
		{"--checkpoint", key, "--public-key", key + ".pub"},
	} {
		if _, err := verifyArchive(t, append(bad, "--data", a.data)...); err == nil || failureOf(err).hint == "" {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}
