// Command goaccess says how Helm's client reaches a cluster, and which certificates Go trusts. Input: one JSON question a line;
// output: one JSON answer a line. tests/go_access compares the answers with helm-guard's.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"k8s.io/klog/v2"
)

type question struct {
	// How is the cluster reached?
	Access *accessQuestion `json:"access,omitempty"`
	// Which certificates does Go trust? The seed of a generated case.
	Trust *int64 `json:"trust,omitempty"`
	// Texts that Go's strconv and time read.
	Words []string `json:"words,omitempty"`
}

func answer(line []byte) (result any) {
	var asked question
	if err := json.Unmarshal(line, &asked); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	switch {
	case asked.Access != nil:
		return access(*asked.Access)
	case asked.Trust != nil:
		return trust(*asked.Trust)
	default:
		return words(asked.Words)
	}
}

func main() {
	klog.SetOutput(io.Discard)
	klog.LogToStderr(false)
	input := bufio.NewReader(os.Stdin)
	output := json.NewEncoder(os.Stdout)
	for {
		line, err := input.ReadBytes('\n')
		if len(line) > 0 {
			if err := output.Encode(answer(line)); err != nil {
				os.Exit(1)
			}
		}
		if err != nil {
			return
		}
	}
}
