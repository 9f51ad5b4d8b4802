package httpd

import "net/http"

// Handler returns what s serves, for tests without a network.
func Handler(s *Server) http.Handler { return s.http.Handler }
