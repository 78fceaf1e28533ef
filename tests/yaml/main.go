// Command goyaml reads manifests as Helm's client does and says what it read. Input: one JSON string a line, the text of a
// manifest. Output, a line each: {"documents": […]}, or {"documents": […], "error": "…"} where reading stopped.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/yaml"
)

type answer struct {
	Documents []any  `json:"documents"`
	Error     string `json:"error,omitempty"`
}

// read does what cli-runtime's StreamVisitor does with every document, up to the decoding into an object.
func read(text string) (result answer) {
	result.Documents = []any{}
	defer func() {
		// Go's parser panics on some texts; Helm would too.
		if cause := recover(); cause != nil {
			result.Error = fmt.Sprint("panic: ", cause)
		}
	}()
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		document := runtime.RawExtension{}
		if err := decoder.Decode(&document); err != nil {
			if err != io.EOF {
				result.Error = err.Error()
			}
			return result
		}
		if len(document.Raw) == 0 || string(document.Raw) == "null" {
			continue
		}
		var value any
		if err := utiljson.Unmarshal(document.Raw, &value); err != nil {
			result.Error = err.Error()
			return result
		}
		result.Documents = append(result.Documents, value)
	}
}

func main() {
	input := bufio.NewReader(os.Stdin)
	output := json.NewEncoder(os.Stdout)
	for {
		line, err := input.ReadString('\n')
		if line != "" {
			var text string
			if err := json.Unmarshal([]byte(line), &text); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			if err := output.Encode(read(text)); err != nil {
				os.Exit(1)
			}
		}
		if err != nil {
			return
		}
	}
}
