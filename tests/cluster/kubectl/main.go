// Command kubectl is kubectl's own main. It is no applet of testcluster: what
// starts there for the other parts would start each time. Tests call it
// thousands of times, so that it can also stay: see serve.
package main

import (
	"os"

	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		util.CheckErr(serve(os.Args[2]))
		return
	}
	logs.GlogSetter(cmd.GetLogVerbosity(os.Args)) //nolint:errcheck // as upstream
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}
