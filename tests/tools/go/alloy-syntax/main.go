// Reads a configuration of Grafana Alloy from standard input, with Alloy's own parser and evaluator, and writes its blocks as
// JSON. What refers to another component becomes {"export": "COMPONENT.LABEL.NAME"}, and must be in the file. The components
// themselves are no part of Alloy's module of the syntax: names of blocks and of their attributes are not checked.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/grafana/alloy/syntax/ast"
	"github.com/grafana/alloy/syntax/parser"
	"github.com/grafana/alloy/syntax/vm"
)

// exports has what the components of our file export, as their documentation says.
var exports = map[string][]string{
	"discovery.kubernetes":    {"targets"},
	"discovery.relabel":       {"output", "rules"},
	"prometheus.remote_write": {"receiver"},
}

type block struct {
	Name       string         `json:"name"`
	Label      string         `json:"label"`
	Attributes map[string]any `json:"attributes"`
	Blocks     []block        `json:"blocks"`
}

// scope has the exports of all components in a file, under the components' names.
func scope(file *ast.File) *vm.Scope {
	variables := map[string]any{}
	for _, statement := range file.Body {
		component, ok := statement.(*ast.BlockStmt)
		if !ok {
			continue
		}
		at := variables
		for _, part := range append(append([]string{}, component.Name...), component.Label) {
			if at[part] == nil {
				at[part] = map[string]any{}
			}
			at = at[part].(map[string]any)
		}
		name := strings.Join(component.Name, ".")
		for _, export := range exports[name] {
			at[export] = map[string]any{"export": name + "." + component.Label + "." + export}
		}
	}
	return vm.NewScope(variables)
}

// read evaluates the statements of a file or of a block.
func read(body ast.Body, scope *vm.Scope) (block, error) {
	answer := block{Attributes: map[string]any{}, Blocks: []block{}}
	for _, statement := range body {
		switch statement := statement.(type) {
		case *ast.AttributeStmt:
			var value any
			if err := vm.New(statement.Value).Evaluate(scope, &value); err != nil {
				return answer, err
			}
			answer.Attributes[statement.Name.Name] = value
		case *ast.BlockStmt:
			inner, err := read(statement.Body, scope)
			if err != nil {
				return answer, err
			}
			inner.Name, inner.Label = strings.Join(statement.Name, "."), statement.Label
			answer.Blocks = append(answer.Blocks, inner)
		}
	}
	return answer, nil
}

func run() error {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	file, err := parser.ParseFile("stdin", text)
	if err != nil {
		return err
	}
	all, err := read(file.Body, scope(file))
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(all.Blocks)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
