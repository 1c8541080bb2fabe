// Command cluster does what parts of a Kubernetes cluster would do with the deployment forms, with the code of Helm and of
// Kubernetes: `cluster COMMAND` reads JSON from standard input and writes JSON to standard output.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

// command answers a request of one kind.
type command func(in []byte) (any, error)

var commands = map[string]command{
	"render":   with(render),
	"validate": with(validate),
	"admit":    with(admit),
	"place":    with(place),
	"mutate":   with(mutate),
}

// with decodes the request.
func with[Request, Answer any](f func(Request) (Answer, error)) command {
	return func(in []byte) (any, error) {
		var request Request
		if err := json.Unmarshal(in, &request); err != nil {
			return nil, err
		}
		return f(request)
	}
}

func run() error {
	if len(os.Args) != 2 || commands[os.Args[1]] == nil {
		return fmt.Errorf("usage: cluster render|validate|admit|place|mutate")
	}
	var in json.RawMessage
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		return err
	}
	answer, err := commands[os.Args[1]](in)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(answer)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
