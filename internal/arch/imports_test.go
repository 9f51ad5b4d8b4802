package arch

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
)

// A layer is a kind of package, named as in ARCHITECTURE.md.
type layer string

const (
	vocabulary  layer = "vocabulary"  // values that systems share
	kernel      layer = "kernel"      // the log and what it stands on
	system      layer = "system"      // what a system means: rules, state, ports
	adapter     layer = "adapter"     // <package>/<package><technology>: a wire or a store
	conformance layer = "conformance" // <package>/<package>test: what every implementation of a port passes
	platform    layer = "platform"    // the plumbing of the process
	simulation  layer = "simulation"  // a clock, a network and a disk that misbehave
	command     layer = "command"     // the only place that joins systems
	checks      layer = "checks"      // what only looks at the project, such as this package
)

// The packages of the lower layers. A new system is a line here, and a new
// part of the vocabulary too.
var (
	vocabularies = []string{"money"}
	kernels      = []string{"vfs", "wal", "rsm"} // bottom up: each imports only what stands before it
	systems      = []string{"cluster", "queue", "wallet"}
)

// mayImport says which layers a layer's packages may import. Systems, and what
// belongs to them, import no other system whatever stands here; only the
// command and the simulation see several.
var mayImport = map[layer][]layer{
	vocabulary:  {},
	kernel:      {kernel},
	system:      {vocabulary, kernel, system},
	adapter:     {vocabulary, kernel, system, platform},
	conformance: {vocabulary, kernel, system},
	platform:    {platform},
	simulation:  {vocabulary, kernel, system, adapter, simulation},
	command:     {vocabulary, kernel, system, adapter, platform, command},
	checks:      {},
}

// technologies gives each package that needs a module from outside the one
// that it is about, and what that one cannot be used without. It may be an adapter
// of the kernel. The command may use any.
var technologies = map[string][]string{
	"cluster/clusterraft":     {module + "/rsm/rsmraft"},
	"internal/sim/simcluster": {"github.com/anishathalye/porcupine"},
	"internal/sqldb":          {"modernc.org/sqlite", "github.com/jackc/pgx/v5", "github.com/pressly/goose/v3"},
	"internal/telemetry":      {"github.com/prometheus/client_golang"},
	"rsm/rsmarchive":          {"github.com/klauspost/compress"},
	"rsm/rsms3":               {"github.com/minio/minio-go/v7", module + "/rsm/rsmarchive"},
	"internal/s3test":         {"github.com/minio/minio-go/v7"},
	"rsm/rsmraft":             {"go.etcd.io/raft/v3", "google.golang.org/protobuf"},
	"wallet/walletgrpc":       {"google.golang.org/grpc"},
	"wallet/wallethttp":       {"github.com/danielgtaylor/huma/v2"},
	"wallet/walletpebble":     {"github.com/cockroachdb/pebble/v2"},
	"wallet/walletraft":       {module + "/rsm/rsmraft"},
}

// impure has the parts of the standard library that act on the world, and what
// to do instead in the vocabulary, the kernel and the systems. A part includes
// what is below it, unless that is in pure.
var (
	impure = map[string]string{
		"database/sql": "declare a Store; the adapter talks SQL",
		"flag":         "take an Options; cmd/maru reads flags",
		"log":          "take a *slog.Logger in Options",
		"math/rand":    "use math/rand/v2 with a seed that is passed in",
		"net":          "declare a port; the adapter dials and listens",
		"os":           "take a vfs.FS",
		"syscall":      "take a vfs.FS",
		"testing":      "belongs in _test.go files or in <system>test",
	}
	pure = []string{"log/slog", "math/rand/v2", "net/netip", "net/url"}
)

// diskDoor is the package that may use the operating system's files: all others
// take what it gives.
const diskDoor = "vfs"

// place returns the layer of a package, and the kernel package or system that
// it is part of, if any. An unknown package has the layer "".
func place(pkg string) (l layer, part string) {
	first, rest, _ := strings.Cut(pkg, "/")
	switch {
	case slices.Contains(vocabularies, first):
		return vocabulary, ""
	case slices.Contains(kernels, first):
		return within(first, rest, kernel), first
	case slices.Contains(systems, first):
		return within(first, rest, system), first
	case pkg == "internal/arch", pkg == "internal/mutation", pkg == "internal/racing", pkg == "internal/testreport":
		return checks, ""
	case pkg == "internal/sim", strings.HasPrefix(pkg, "internal/sim/"):
		return simulation, ""
	case first == "internal":
		return platform, ""
	case first == "cmd":
		return command, ""
	}
	return "", ""
}

// within returns the layer of owner/rest, where owner is of layer l.
func within(owner, rest string, l layer) layer {
	switch {
	case rest == owner+"test":
		return conformance
	case strings.HasPrefix(rest, owner):
		return adapter
	}
	return l
}

// refuse says why the package may not import imp, or "" if it may.
func refuse(pkg, imp string) string {
	if local, ok := strings.CutPrefix(imp, module+"/"); ok {
		return refuseLocal(pkg, local)
	}
	first, _, _ := strings.Cut(imp, "/")
	if strings.Contains(first, ".") {
		return refuseModule(pkg, imp)
	}
	return refuseStandard(pkg, imp)
}

func refuseLocal(pkg, imp string) string {
	from, fromPart := place(pkg)
	to, toPart := place(imp)
	fromKernel, toKernel := slices.Index(kernels, fromPart), slices.Index(kernels, toPart)
	switch {
	case to == "":
		return imp + " has no place in the tree"
	case slices.Contains(technologies[pkg], module+"/"+imp):
		return ""
	case !slices.Contains(mayImport[from], to):
		return fmt.Sprintf("%s packages may not import %s packages", from, to)
	case from == command || from == simulation:
		return ""
	case fromKernel >= 0 && slices.Contains(systems, toPart):
		return "the kernel knows no system"
	case fromKernel >= 0 && toKernel > fromKernel:
		return "the kernel is ordered " + strings.Join(kernels, " < ")
	case slices.Contains(systems, toPart) && fromPart != toPart:
		return "systems are independent: declare the interface that you need and let cmd/maru join the two"
	}
	return ""
}

func refuseModule(pkg, imp string) string {
	from, _ := place(pkg)
	technology, ok := technologies[pkg]
	switch {
	case from == command || slices.ContainsFunc(technology, func(t string) bool { return below(imp, t) }):
		return ""
	case from == vocabulary && below(imp, "golang.org/x"):
		return ""
	case ok:
		return "the technology of " + pkg + " is " + technology[0] + ", and one is enough"
	case from == adapter || from == platform:
		return "name it in technologies, with a note in docs/adr"
	}
	return fmt.Sprintf("%s packages use no module from outside", from)
}

func refuseStandard(pkg, imp string) string {
	switch from, _ := place(pkg); {
	case from != vocabulary && from != kernel && from != system:
		return ""
	case pkg == diskDoor && (below(imp, "os") || imp == "syscall"):
		return ""
	case slices.ContainsFunc(pure, func(p string) bool { return below(imp, p) }):
		return ""
	}
	for ; imp != "."; imp = path.Dir(imp) {
		if why, ok := impure[imp]; ok {
			return why
		}
	}
	return ""
}

// below says whether a package is dir or below it.
func below(pkg, dir string) bool {
	return pkg == dir || strings.HasPrefix(pkg, dir+"/")
}

func TestImports(t *testing.T) {
	for _, p := range readPackages(t, readTree(t)) {
		if l, _ := place(p.path); l == "" {
			t.Errorf("%s has no place in the tree: give it a layer in ARCHITECTURE.md and in place", p.path)
			continue
		}
		for _, imp := range p.imports {
			if why := refuse(p.path, imp); why != "" {
				t.Errorf("%s imports %s: %s", p.path, imp, why)
			}
		}
	}
}

func TestRefuse(t *testing.T) {
	// Rules about several systems need a second one.
	defer func(before []string) { systems = before }(systems)
	systems = []string{"cluster", "hotel", "wallet"}

	for _, tt := range []struct{ name, pkg, imp, want string }{
		{"vocabulary, pure standard library", "money", "strconv", ""},
		{"vocabulary, x", "money", "golang.org/x/text/currency", ""},
		{"vocabulary, module", "money", "github.com/spf13/cobra", "no module from outside"},
		{"vocabulary, kernel", "money", module + "/vfs", "vocabulary packages may not import kernel"},
		{"kernel, below", "rsm", module + "/wal", ""},
		{"kernel, two below", "rsm", module + "/vfs", ""},
		{"kernel, above", "wal", module + "/rsm", "vfs < wal < rsm"},
		{"kernel, vocabulary", "rsm", module + "/money", "kernel packages may not import vocabulary"},
		{"kernel, system", "rsm", module + "/wallet", "kernel packages may not import system"},
		{"kernel's adapter, its package", "rsm/rsmraft", module + "/rsm", ""},
		{"kernel's adapter, system", "rsm/rsmraft", module + "/wallet", "the kernel knows no system"},
		{"kernel's adapter, above", "wal/walraft", module + "/rsm", "vfs < wal < rsm"},
		{"system, kernel", "wallet", module + "/rsm", ""},
		{"system, vocabulary", "wallet", module + "/money", ""},
		{"system, its own part", "wallet", module + "/wallet/history", ""},
		{"system, its adapter", "wallet", module + "/wallet/wallethttp", "system packages may not import adapter"},
		{"system, platform", "wallet", module + "/internal/httpd", "system packages may not import platform"},
		{"system, other system", "hotel", module + "/wallet", "systems are independent"},
		{"system, x", "wallet", "golang.org/x/sync/errgroup", "no module from outside"},
		{"adapter, its system", "wallet/wallethttp", module + "/wallet", ""},
		{"adapter, platform", "wallet/wallethttp", module + "/internal/httpd", ""},
		{"adapter, sibling", "wallet/wallethttp", module + "/wallet/walletgrpc", "adapter packages may not import adapter"},
		{"adapter, other system", "hotel/hotelhttp", module + "/wallet", "systems are independent"},
		{"adapter, its technology in the tree", "cluster/clusterraft", module + "/rsm/rsmraft", ""},
		{"adapter, another's technology in the tree", "wallet/wallethttp", module + "/rsm/rsmraft", "adapter packages may not import adapter"},
		{"adapter, its technology", "wallet/walletgrpc", "google.golang.org/grpc/codes", ""},
		{"adapter, another technology", "wallet/walletgrpc", "github.com/danielgtaylor/huma/v2", "one is enough"},
		{"adapter, a module with the same beginning", "wallet/walletgrpc", "google.golang.org/grpcx", "one is enough"},
		{"adapter, technology not named", "hotel/hotelsql", "modernc.org/sqlite", "name it in technologies"},
		{"adapter, impure standard library", "wallet/wallethttp", "net/http", ""},
		{"conformance, its system", "wallet/wallettest", module + "/wallet", ""},
		{"conformance, testing", "wallet/wallettest", "testing", ""},
		{"conformance, adapter", "wallet/wallettest", module + "/wallet/wallethttp", "conformance packages may not import adapter"},
		{"conformance, module", "wallet/wallettest", "github.com/google/go-cmp/cmp", "no module from outside"},
		{"platform, platform", "internal/httpd", module + "/internal/auth", ""},
		{"platform, system", "internal/httpd", module + "/wallet", "platform packages may not import system"},
		{"platform, its technology", "internal/telemetry", "github.com/prometheus/client_golang/prometheus", ""},
		{"platform, technology not named", "internal/httpd", "github.com/go-chi/chi", "name it in technologies"},
		{"simulation, several systems", "internal/sim", module + "/hotel", ""},
		{"simulation, adapter", "internal/sim", module + "/rsm/rsmraft", ""},
		{"simulation, simulation", "internal/sim/simcluster", module + "/internal/sim", ""},
		{"simulation, platform", "internal/sim", module + "/internal/httpd", "simulation packages may not import platform"},
		{"adapter, what its technology needs", "rsm/rsmraft", "google.golang.org/protobuf/proto", ""},
		{"command, adapter", "cmd/maru", module + "/wallet/wallethttp", ""},
		{"command, module", "cmd/maru", "github.com/spf13/cobra", ""},
		{"command, conformance", "cmd/maru", module + "/wallet/wallettest", "command packages may not import conformance"},
		{"command, simulation", "cmd/maru", module + "/internal/sim", "command packages may not import simulation"},
		{"importing what has no place", "wallet", module + "/util", "has no place"},
		{"rules, files", "wallet", "os", "take a vfs.FS"},
		{"rules, processes", "wallet", "os/exec", "take a vfs.FS"},
		{"rules, network", "rsm", "net/http/httptest", "the adapter dials"},
		{"rules, log", "wallet", "log", "*slog.Logger"},
		{"rules, slog", "rsm", "log/slog", ""},
		{"rules, addresses", "wallet", "net/netip", ""},
		{"rules, hidden randomness", "wallet", "math/rand", "math/rand/v2"},
		{"rules, seeded randomness", "wallet", "math/rand/v2", ""},
		{"rules, mathematics", "wallet", "math", ""},
		{"rules, testing", "wallet", "testing/iotest", "_test.go"},
		{"disk, files", "vfs", "os", ""},
		{"disk, system calls", "vfs", "syscall", ""},
		{"disk, network", "vfs", "net", "the adapter dials"},
		{"log, files", "wal", "os", "take a vfs.FS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := refuse(tt.pkg, tt.imp)
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("refuse(%s, %s) = %q, want %q", tt.pkg, tt.imp, got, tt.want)
			}
		})
	}
}

func TestPlace(t *testing.T) {
	for _, tt := range []struct {
		pkg  string
		l    layer
		part string
	}{
		{"money", vocabulary, ""},
		{"wal", kernel, "wal"},
		{"rsm/rsmraft", adapter, "rsm"},
		{"rsm/rsmtest", conformance, "rsm"},
		{"wallet", system, "wallet"},
		{"wallet/history", system, "wallet"},
		{"wallet/walletgrpc", adapter, "wallet"},
		{"internal/httpd", platform, ""},
		{"internal/sim", simulation, ""},
		{"internal/sim/simcluster", simulation, ""},
		{"internal/arch", checks, ""},
		{"cmd/maru", command, ""},
		{"util", "", ""},
		{".", "", ""},
	} {
		t.Run(tt.pkg, func(t *testing.T) {
			if l, part := place(tt.pkg); l != tt.l || part != tt.part {
				t.Errorf("place(%s) = %q, %q, want %q, %q", tt.pkg, l, part, tt.l, tt.part)
			}
		})
	}
}
