package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"maru.example/cluster"
	"maru.example/cluster/clusterhttp"
	"maru.example/internal/auth"
	"maru.example/internal/httpd"
	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
)

// backupPath is where a server gives what a backup is made of: /v1/backup says of what wallet, and
// /v1/backup/{partition} gives the next segment after a position.
const backupPath = "/v1/backup"

// lastEntryHeader says with a segment which entry of the partition was the last that was decided when it was asked for.
const lastEntryHeader = "Maru-Last-Entry"

// backupSegment is the content of a segment that is made for a backup: little enough for a request.
const backupSegment = 8 << 20

// maxBackupSegments is how many segments are made at a time; with more, clients are told to come back.
const maxBackupSegments = 2

// backupSource says whose backup is made.
type backupSource struct {
	Cluster    cluster.ID       `json:"cluster_id"`
	Node       cluster.NodeID   `json:"node_id"`
	Partitions int              `json:"partitions"`
	Protocol   cluster.Protocol `json:"protocol"`
	Nodes      []cluster.ID     `json:"nodes"` // incarnations, this node's first
}

type backupHandler struct {
	*http.ServeMux
	node      *node
	authorize clusterhttp.Authorize // nil: there are no keys
	making    chan struct{}         // a place for each segment that is being made
}

func newBackupHandler(n *node, authorize clusterhttp.Authorize) *backupHandler {
	h := &backupHandler{http.NewServeMux(), n, authorize, make(chan struct{}, maxBackupSegments)}
	mux := h.ServeMux
	mux.HandleFunc("GET "+backupPath, h.refusing(h.source))
	mux.HandleFunc("GET "+backupPath+"/{partition}", h.refusing(h.segment))
	mux.Handle("/", httpd.NotFound(mux))
	return h
}

// refusing answers with the problem that an error is.
func (h *backupHandler) refusing(do func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := h.allowed(r)
		if err == nil {
			err = do(w, r)
		}
		var p *httpd.Problem
		switch {
		case err == nil:
			return
		case errors.As(err, &p):
		case errors.Is(err, rsm.ErrNoLeader):
			p = httpd.NewProblem(http.StatusServiceUnavailable, "no_replica", err.Error())
		case errors.Is(err, rsm.ErrGap), errors.Is(err, rsmarchive.ErrConflict):
			p = httpd.NewProblem(http.StatusConflict, "not_here", err.Error())
		default:
			h.node.logger.ErrorContext(r.Context(), "request failed", slog.String("operation", r.Pattern), slog.Any("error", err))
			p = httpd.NewProblem(http.StatusInternalServerError, "internal", "see the server's log")
		}
		p.Write(w)
	}
}

func (h *backupHandler) allowed(r *http.Request) error {
	if h.authorize == nil {
		return nil
	}
	err := h.authorize(r.Context(), r.Header.Get("Authorization"), clusterhttp.AdminScope)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, auth.ErrForbidden):
		return httpd.NewProblem(http.StatusForbidden, "forbidden", "this needs the scope cluster:admin")
	}
	return httpd.NewProblem(http.StatusUnauthorized, "unauthorized", "this needs an API key with the scope cluster:admin")
}

func (h *backupHandler) source(w http.ResponseWriter, _ *http.Request) error {
	id := h.node.identity
	w.Header().Set("Content-Type", "application/json")
	s := h.node.machine.State()
	nodes := []cluster.ID{id.Incarnation}
	for i := range s.Nodes {
		if one := s.Nodes[i].Incarnation; one != id.Incarnation {
			nodes = append(nodes, one)
		}
	}
	return json.NewEncoder(w).Encode(backupSource{id.Cluster, id.Node, id.Partitions, s.Config.Protocol, nodes})
}

// segment answers with the next segment after a position; 204 says that nothing follows yet.
func (h *backupHandler) segment(w http.ResponseWriter, r *http.Request) error {
	partition, err := strconv.ParseUint(r.PathValue("partition"), 10, 16)
	if err != nil || int(partition) >= h.node.identity.Partitions {
		return httpd.NewProblem(http.StatusNotFound, "not_found", "there is no such partition")
	}
	at, err := parsePosition(r.URL.Query())
	if err != nil {
		return httpd.NewProblem(http.StatusBadRequest, "invalid", err.Error())
	}
	select {
	case h.making <- struct{}{}:
		defer func() { <-h.making }()
	default:
		p := httpd.NewProblem(http.StatusTooManyRequests, "busy", "other segments of backups are being made; try again")
		p.RetryAfter = time.Second
		return p
	}
	g, err := h.node.logs[partition].Replica()
	if err != nil {
		return err
	}
	last := g.Applied()
	if at.Index > last {
		return fmt.Errorf("%w: the backup has entry %d, and here is %d the last: it is of another past, or this node is behind", rsmarchive.ErrConflict, at.Index, last)
	}
	content, err := h.cut(r, uint16(partition), at, last)
	w.Header().Set(lastEntryHeader, strconv.FormatUint(uint64(last), 10))
	switch {
	case err != nil:
		return err
	case len(content) == 0:
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	_, _ = w.Write(content) // a client that is gone needs no answer
	return nil
}

// cut makes the segment of the entries after a position, up to one; nothing if there is none.
func (h *backupHandler) cut(r *http.Request, partition uint16, at rsmarchive.Position, last rsm.Index) (_ []byte, err error) {
	f, err := h.node.localFeed(partition, at.Index)
	if err != nil {
		return nil, err
	}
	source := &firstFeed{f, at.Index + 1}
	defer func() { err = errors.Join(err, source.Close()) }()
	if err := rsmarchive.Continues(r.Context(), source, at); err != nil {
		return nil, err
	}
	source.Seek(at.Index + 1)
	return makeSegment(r.Context(), source, h.node.identity.chained(partition), at, last, backupSegment)
}

// makeSegment makes a segment of what a source goes on with after a position: up to an entry, or until it has so
// much content. It is nothing if nothing follows.
func makeSegment(ctx context.Context, source rsmarchive.Source, of rsmarchive.Chained, at rsmarchive.Position, last rsm.Index, size int64) ([]byte, error) {
	taken := &rsmarchive.Taken{}
	out := rsmarchive.NewWriter(taken, of, at, &rsmarchive.WriterOptions{SegmentBytes: size})
	for out.Next() <= last && !out.Full() {
		d, err := source.Next(ctx)
		if err == nil {
			err = out.Append(&d)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := out.Seal(ctx); err != nil {
		return nil, err
	}
	return taken.Content, nil
}

// positionQuery is a position as a request names it.
func positionQuery(p rsmarchive.Position) url.Values {
	return url.Values{
		"index": {strconv.FormatUint(uint64(p.Index), 10)}, "term": {strconv.FormatUint(p.Term, 10)},
		"time": {strconv.FormatInt(p.Time, 10)}, "link": {p.Link.String()},
	}
}

func parsePosition(q url.Values) (p rsmarchive.Position, err error) {
	index, err1 := strconv.ParseUint(q.Get("index"), 10, 64)
	term, err2 := strconv.ParseUint(q.Get("term"), 10, 64)
	at, err3 := strconv.ParseInt(q.Get("time"), 10, 64)
	link, err4 := base64.StdEncoding.Strict().DecodeString(q.Get("link"))
	if err := errors.Join(err1, err2, err3, err4); err != nil || len(link) != len(p.Link) {
		return p, fmt.Errorf("the position to go on from: index, term, time and link of %d bytes in base64: %w", len(p.Link), err)
	}
	p.Index, p.Term, p.Time = rsm.Index(index), term, at
	copy(p.Link[:], link)
	return p, nil
}
