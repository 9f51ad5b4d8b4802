package httpd

import (
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// connState notes the connections that have made no request. net/http would wait
// for them when it stops, as one may be on its way.
func (s *Server) connState(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	if state == http.StateNew {
		s.silent[c] = struct{}{}
	} else {
		delete(s.silent, c)
	}
	s.mu.Unlock()
	if state == http.StateNew && s.stopping.Load() { // it may have come too late for Shutdown to see
		_ = c.Close()
	}
}

// hurry ends connections without a request, and gives bodies a short time.
func (s *Server) hurry() {
	s.mu.Lock()
	silent, bodies := slices.Collect(maps.Keys(s.silent)), slices.Collect(maps.Keys(s.bodies))
	s.mu.Unlock()
	for _, c := range silent {
		_ = c.Close()
	}
	for _, b := range bodies {
		b.hurry()
	}
}

// body is a request's body until it has arrived.
type body struct {
	io.ReadCloser
	server  *Server
	control *http.ResponseController

	mu      sync.Mutex
	over    bool // it has arrived, or the handler has returned
	hurried bool
}

// arriving puts the limits on r's body: how large, and how long when the server
// stops. The handler calls the function that it returns when it is done with w.
func (s *Server) arriving(w http.ResponseWriter, r *http.Request) (done func()) {
	b := &body{
		// net/http closes the connection after too large a body, if it is given its own writer.
		ReadCloser: http.MaxBytesReader(w, r.Body, s.o.MaxBodyBytes),
		server:     s,
		control:    http.NewResponseController(w),
	}
	r.Body = b
	s.mu.Lock()
	s.bodies[b] = struct{}{}
	s.mu.Unlock()
	if s.stopping.Load() { // it may have come too late for Shutdown to see
		b.hurry()
	}
	return b.unread
}

// Read reads the body.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case errors.Is(err, io.EOF):
		b.arrived()
	case err != nil: // there is nothing more to come
		b.end(func() {})
	}
	return n, err
}

// hurry gives the rest of the body a short time. It does nothing when that has
// arrived: then net/http reads on, to see whether the client is still there.
func (b *body) hurry() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over {
		b.hurried = true
		b.deadline(time.Now().Add(bodyGrace))
	}
}

// deadline bounds what is read. A response that has no deadlines has no
// connection that could be slow either.
func (b *body) deadline(t time.Time) { _ = b.control.SetReadDeadline(t) }

// arrived ends the watch over a body that is whole.
func (b *body) arrived() {
	b.end(func() {
		if b.hurried {
			b.deadline(time.Time{})
		}
	})
}

// unread ends the watch over a body of which the handler wants no more. net/http
// reads some of the rest before it answers, for which this is the time.
func (b *body) unread() {
	b.end(func() { b.deadline(time.Now().Add(min(bodyGrace, b.server.o.RequestTimeout))) })
}

// end calls last and ends the watch, if it goes on.
func (b *body) end(last func()) {
	b.mu.Lock()
	ends := !b.over
	if ends {
		last()
	}
	b.over = true
	b.mu.Unlock()
	if ends {
		b.server.mu.Lock()
		delete(b.server.bodies, b)
		b.server.mu.Unlock()
	}
}
