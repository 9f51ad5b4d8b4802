package arch

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "maru.example"

// A file is a text file of the project; its name is slash-separated, from the
// root of the project.
type file struct {
	name string
	text []byte
}

// readTree returns the project's text files in the order of their names. It
// leaves out what git does not keep and files that are not text.
func readTree(t *testing.T) []file {
	t.Helper()
	root := filepath.Join("..", "..")
	var files []file
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel == ".git" || rel == ".bin" || rel == "data" {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if !bytes.Contains(text, []byte{0}) {
			files = append(files, file{rel, text})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("%d files found under %s: not the project", len(files), root)
	}
	return files
}

// A pkg is what the tests know of a Go package.
type pkg struct {
	path       string // from the root of the project, as in "wallet/wallethttp"
	imports    []string
	documented bool
	example    bool
}

// readPackages returns the packages among the files, sorted by path. The
// imports are those of the code that others get: tests may use what they like.
func readPackages(t *testing.T, files []file) []pkg {
	t.Helper()
	found := make(map[string]*pkg)
	for _, f := range files {
		dir := path.Dir(f.name)
		if path.Ext(f.name) != ".go" || strings.Contains("/"+dir+"/", "/testdata/") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.name, f.text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		p := found[dir]
		if p == nil {
			p = &pkg{path: dir}
			found[dir] = p
		}
		if strings.HasSuffix(f.name, "_test.go") {
			p.example = p.example || hasExample(parsed)
			continue
		}
		p.documented = p.documented || parsed.Doc != nil
		for _, imp := range parsed.Imports {
			name, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				t.Errorf("%s: import %s: %v", f.name, imp.Path.Value, err)
			}
			p.imports = append(p.imports, name)
		}
	}
	var pkgs []pkg
	for _, dir := range slices.Sorted(maps.Keys(found)) {
		p := found[dir]
		slices.Sort(p.imports)
		p.imports = slices.Compact(p.imports)
		pkgs = append(pkgs, *p)
	}
	return pkgs
}

func hasExample(f *ast.File) bool {
	return slices.ContainsFunc(f.Decls, func(d ast.Decl) bool {
		fn, ok := d.(*ast.FuncDecl)
		return ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Example")
	})
}
