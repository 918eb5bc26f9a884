package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryPackageHasOneComment: a newcomer learns from it what the package is for.
func TestEveryPackageHasOneComment(t *testing.T) {
	for _, p := range listPackages(t) {
		var comments []string
		for _, file := range parse(t, p) {
			if file.Doc != nil {
				comments = append(comments, strings.TrimSpace(file.Doc.Text()))
			}
		}
		switch {
		case len(comments) != 1:
			t.Errorf("%s has %d package comments, want 1", p.ImportPath, len(comments))
		case !strings.HasPrefix(comments[0], "Package ") && !strings.HasPrefix(comments[0], "Command ") && !strings.HasSuffix(p.ImportPath, "cmd/arbiter"):
			t.Errorf("%s: the package comment does not begin with its name", p.ImportPath)
		}
	}
}

// TestNoInit: what runs at start is written in one place, not in hidden hooks.
func TestNoInit(t *testing.T) {
	for _, p := range listPackages(t) {
		for _, file := range parse(t, p) {
			for _, decl := range file.Decls {
				if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
					t.Errorf("%s has an init function: wire it in cluster/node or cmd", p.ImportPath)
				}
			}
		}
	}
}

// TestExportedNamesAreDocumented: a doc comment gives what a caller must know.
func TestExportedNamesAreDocumented(t *testing.T) {
	for _, p := range listPackages(t) {
		for _, file := range parse(t, p) {
			for _, decl := range file.Decls {
				for _, name := range undocumented(decl) {
					t.Errorf("%s: %s has no doc comment", p.ImportPath, name)
				}
			}
		}
	}
}

func undocumented(decl ast.Decl) (names []string) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || exportedReceiver(d.Recv)) {
			names = append(names, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
					names = append(names, s.Name.Name)
				}
			case *ast.ValueSpec:
				if s.Names[0].IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					names = append(names, s.Names[0].Name)
				}
			}
		}
	}
	return names
}

func exportedReceiver(recv *ast.FieldList) bool {
	t := recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

func parse(t *testing.T, p goPackage) (files []*ast.File) {
	t.Helper()
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}
