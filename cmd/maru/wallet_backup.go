package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"maru.example/cluster"
	"maru.example/internal/httpd"
	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/rsm/rsms3"
)

// backedUp is what a backup did, as --json prints it.
type backedUp struct {
	manifest
	Entries  uint64 `json:"entries"` // that are new
	Segments int    `json:"segments"`
	Bytes    int64  `json:"bytes"`
}

func newBackupCommand() *cobra.Command {
	var o httpOptions
	var to string
	cmd := &cobra.Command{
		Use:   "backup --to PLACE",
		Short: "Back the wallet up, while it runs; the second time only what is new",
		Long: `Back the wallet up, while it runs. A backup is an archive of all that was decided, from the
first entry on, compressed, chained and checked, in another place than the server's own.
The first call copies everything, each later one with the same --to what is new. When all
is there a manifest is written; a call that was interrupted is made good by the next. Each
call first looks whether what was backed up before is there, by names and sizes of its
segments, and refuses to go on with a backup that lacks something; what is in them only
verify looks at. A wallet that was restored cannot go on with the backup of the original.

maru wallet restore makes a wallet of it again, as it was at any moment. maru wallet verify
--data none --archive PLACE verifies it, and maru wallet balance --at reads it. With API
keys it needs the scope cluster:admin. The keys themselves are not in it.
` + helpLocation,
		Example: `  maru wallet backup --to /backup/wallet
  maru wallet backup --to s3://backups/wallet --addr https://pay.example.com:7480`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to == "" {
				return usageError(hintLocation, "say with --to where the backup is to be")
			}
			place, err := parseLocation(to)
			if err != nil {
				return err
			}
			b, err := o.backup(cmd, place)
			if err != nil {
				return err
			}
			return printResult(cmd.OutOrStdout(), o.json, b, fmt.Sprintf("backup %d at %s: %s more, %s in %s, of %s", b.Number, place,
				several(b.Entries, "entry", "entries"), several(b.Bytes, "byte", "bytes"), several(b.Segments, "segment", "segments"), several(len(b.Partitions), "partition", "partitions")))
		},
	}
	o.register(cmd)
	cmd.Flags().StringVar(&to, "to", "", "`place` of the backup (required)")
	return cmd
}

// backupClient asks servers for what a backup is made of.
type backupClient struct {
	urls   []string
	key    string
	client *http.Client
	limit  time.Duration // of each request
}

func (o *httpOptions) dialBackup() (*backupClient, error) {
	urls, config, err := o.reach()
	if err != nil {
		return nil, err
	}
	return &backupClient{urls, o.key, &http.Client{Transport: &http.Transport{TLSClientConfig: config}}, o.timeout}, nil
}

// source asks whose past it is.
func (c *backupClient) source(ctx context.Context) (*backupSource, error) {
	of := &backupSource{}
	b, _, err := c.get(ctx, backupPath, nil)
	if err == nil {
		err = json.Unmarshal(b, of)
	}
	if err == nil && (of.Cluster.Validate() != nil || of.Partitions < 1 || of.Partitions > cluster.MaxPartitions) {
		err = errors.New("the answer is not that of a server")
	}
	return of, err
}

// segment asks for the segment after a position, none if nothing is new, and which entry was the last then.
func (c *backupClient) segment(ctx context.Context, partition uint16, at rsmarchive.Position) (content []byte, last rsm.Index, err error) {
	content, header, err := c.get(ctx, fmt.Sprintf("%s/%d", backupPath, partition), positionQuery(at))
	if err != nil {
		return nil, 0, err
	}
	n, err := strconv.ParseUint(header.Get(lastEntryHeader), 10, 64)
	if err != nil {
		return nil, 0, fmt.Errorf("the answer does not say which entry is the last: the server is of another version: %w", err)
	}
	return content, rsm.Index(n), nil
}

func (o *httpOptions) backup(cmd *cobra.Command, place location) (*backedUp, error) {
	c, err := o.dialBackup()
	if err != nil {
		return nil, err
	}
	defer c.client.CloseIdleConnections()
	of, err := c.source(cmd.Context())
	if err != nil {
		return nil, o.explainBackup(place, err)
	}
	store, err := openBackup(cmd.Context(), place, of)
	if err != nil {
		return nil, err
	}
	before, err := newestManifest(cmd.Context(), store)
	if err != nil {
		return nil, failed(err, "the backup cannot be gone on with: begin another, in another place")
	}
	if before != nil && !before.continues(of) {
		return nil, failed(fmt.Errorf("%s is the backup of this wallet before it was restored: none of its nodes is one of this cluster", place),
			"a wallet that was restored has a backup of its own, in another place: the wallet that it was made of may go on with this one")
	}
	out := &backedUp{manifest: manifest{Version: manifestVersion, Number: 1, Cluster: of.Cluster, Protocol: of.Protocol, Made: time.Now().UTC(), Nodes: of.Nodes}}
	if before != nil {
		out.Number = before.Number + 1
	}
	out.Partitions = make([]backedUpTo, of.Partitions)
	for i := range of.Partitions {
		i = (i + 1) % of.Partitions // the first one last: it has the assets that the others' entries name
		if err := c.partition(cmd.Context(), store, before, uint16(i), out); err != nil {
			return nil, o.explainBackup(place, fmt.Errorf("partition %d: %w", i, err))
		}
	}
	text, err := json.MarshalIndent(&out.manifest, "", "  ")
	if err != nil {
		return nil, err
	}
	return out, store.Put(cmd.Context(), manifestName(out.Number), append(text, '\n'))
}

// partition copies what is new of a partition.
func (c *backupClient) partition(ctx context.Context, store rsmarchive.Store, before *manifest, partition uint16, out *backedUp) error {
	chained := chainedOf(out.Cluster, partition)
	a, err := rsmarchive.Open(ctx, store, chained, nil)
	if err != nil {
		return err
	}
	was := backedUpTo{}
	if before != nil && int(partition) < len(before.Partitions) {
		was = before.position(partition)
	}
	if err := a.Compare(ctx, was.Index, was.listing()); err != nil {
		return err
	}
	at, err := a.End(ctx)
	if err != nil {
		return err
	}
	for {
		content, _, err := c.get(ctx, fmt.Sprintf("%s/%d", backupPath, partition), positionQuery(at))
		if err != nil {
			return err
		}
		if len(content) == 0 {
			break
		}
		next, err := rsmarchive.Add(ctx, store, chained, at, content)
		if err != nil {
			return err
		}
		out.Entries += uint64(next.Index - at.Index)
		out.Segments++
		out.Bytes += int64(len(content))
		at = next
	}
	if a, err = rsmarchive.Open(ctx, store, chained, nil); err != nil {
		return err
	}
	listing, err := a.Listing(ctx, at.Index)
	if err != nil {
		return err
	}
	out.Partitions[partition] = backedUpTo{partition, at.Index, time.Unix(0, at.Time).UTC(), at.Link.String(), listing.Segments, listing.Sum[:]}
	return nil
}

// maxBackupAnswer is the most that is read of an answer: a segment with one entry of the largest kind.
const maxBackupAnswer = 128 << 20

// mostBusy is how often a server that has no place for another request is asked again.
const mostBusy = 60

// get asks one server after the other, and again where all that answered are busy. It returns nothing where nothing is new.
func (c *backupClient) get(ctx context.Context, path string, query url.Values) (b []byte, header http.Header, err error) {
	for range mostBusy {
		for _, base := range c.urls {
			if b, header, err = c.ask(ctx, base+path+"?"+query.Encode()); err == nil || ctx.Err() != nil {
				return b, header, err
			}
		}
		p, ok := errors.AsType[*httpd.Problem](err)
		if !ok || p.Status != http.StatusTooManyRequests {
			break
		}
		select {
		case <-time.After(min(max(p.RetryAfter, time.Second/10), time.Minute)):
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	return nil, nil, err
}

func (c *backupClient) ask(ctx context.Context, address string) (_ []byte, _ http.Header, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, err
	}
	if c.key != "" {
		r.Header.Set("Authorization", "Bearer "+c.key)
	}
	answer, err := c.client.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxBackupAnswer))
	switch {
	case err != nil:
		return nil, nil, err
	case answer.StatusCode == http.StatusOK, answer.StatusCode == http.StatusNoContent:
		return body, answer.Header, nil
	}
	p := &httpd.Problem{}
	if err := json.Unmarshal(body, p); err != nil || p.Code == "" {
		p = httpd.NewProblem(answer.StatusCode, "unknown", answer.Status)
	}
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil {
		p.RetryAfter = time.Duration(seconds) * time.Second
	}
	return nil, nil, p
}

// explainBackup says what to do about a backup that was not made.
func (o *httpOptions) explainBackup(place location, err error) error {
	p, refused := errors.AsType[*httpd.Problem](err)
	switch {
	case errors.Is(err, rsmarchive.ErrConflict) || refused && p.Code == "not_here":
		return failed(err, "give --addr of a node that has everything from the beginning, such as the first, or one with an archive; a wallet that was restored has a backup of its own, in another place")
	case errors.Is(err, rsmarchive.ErrExists):
		return failed(err, "another backup is being made there: wait for its end, and repeat the command")
	case errors.Is(err, rsmarchive.ErrDamaged):
		return failed(err, "the backup is damaged: `maru wallet verify --data none --archive "+place.String()+"` tells all; begin another backup in another place")
	case refused:
		return explainStatus(err, p.Status)
	case errors.Is(err, rsms3.ErrDenied), errors.Is(err, rsms3.ErrNoBucket):
		return failed(err, hintPlace(err))
	}
	return o.explain(err)
}
