package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

// call is what a client asks for: the first line of a connection.
type call struct {
	Kubeconfig string   `json:"kubeconfig"`
	Arguments  []string `json:"arguments"`
}

// What a frame of the answer holds. A frame is the kind, the length in four bytes, the content.
const (
	frameOutput byte = iota
	frameError
	frameExit // one byte: the exit code
)

// serve runs kubectl's commands in one process, each for a connection to a
// socket in the abstract namespace: nine tenths of what a short command costs
// are its start and the greeting with the API server. It ends with its standard
// input, and so with whoever started it.
func serve(name string) error {
	listener, err := net.Listen("unix", "@"+name)
	if err != nil {
		return err
	}
	fmt.Println("serving")
	util.BehaviorOnFatal(func(message string, code int) { panic(fatal{message, code}) })
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer connection.Close()
			var asked call
			if err := json.NewDecoder(connection).Decode(&asked); err != nil {
				return
			}
			// A client sends nothing more: it reads on, or is gone.
			wanted, end := context.WithCancel(context.Background())
			defer end()
			go func() {
				_, _ = io.Copy(io.Discard, connection)
				end()
			}()
			answer(wanted, connection, asked)
		}()
	}
}

// fatal is what kubectl would have ended its process with.
type fatal struct {
	message string
	code    int
}

func answer(wanted context.Context, connection io.Writer, asked call) {
	var lock sync.Mutex
	output, errors := frames{connection, &lock, frameOutput}, frames{connection, &lock, frameError}
	code := run(wanted, asked, genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: output, ErrOut: errors})
	// Who asked may be gone.
	_, _ = frames{connection, &lock, frameExit}.Write([]byte{byte(code)})
}

func run(wanted context.Context, asked call, streams genericiooptions.IOStreams) (code int) {
	defer func() {
		if reason := recover(); reason != nil {
			end, is := reason.(fatal)
			if !is {
				end = fatal{fmt.Sprint(reason), 2}
			}
			if end.message != "" {
				fmt.Fprintln(streams.ErrOut, strings.TrimSuffix(end.message, "\n"))
			}
			code = end.code
		}
	}()
	arguments := append([]string{"--kubeconfig=" + asked.Kubeconfig}, asked.Arguments...)
	// A watch whose client is gone would stay for ever, and some megabytes with it.
	flags := genericclioptions.NewConfigFlags(true).WithDiscoveryBurst(300).WithDiscoveryQPS(50)
	flags.WithWrapConfigFn(func(config *rest.Config) *rest.Config {
		config.Wrap(func(next http.RoundTripper) http.RoundTripper { return while{wanted, next} })
		return config
	})
	building.Lock()
	command := cmd.NewKubectlCommand(cmd.KubectlOptions{
		ConfigFlags: flags, Arguments: append([]string{"kubectl"}, arguments...), IOStreams: streams,
	})
	building.Unlock()
	command.SetArgs(arguments)
	command.SilenceErrors, command.SilenceUsage = true, true
	util.CheckErr(command.Execute())
	return 0
}

// while sends requests for as long as they are wanted.
type while struct {
	wanted context.Context
	next   http.RoundTripper
}

func (w while) RoundTrip(request *http.Request) (*http.Response, error) {
	until, end := context.WithCancelCause(request.Context())
	stop := context.AfterFunc(w.wanted, func() { end(w.wanted.Err()) })
	response, err := w.next.RoundTrip(request.WithContext(until))
	if err != nil {
		stop()
		end(err)
		return nil, err
	}
	response.Body = &body{response.Body, func() { stop(); end(nil) }}
	return response, nil
}

// body says when an answer was read.
type body struct {
	io.ReadCloser
	ended func()
}

func (b *body) Close() error {
	defer b.ended()
	return b.ReadCloser.Close()
}

// building is held while a command is made, which is not meant to be done twice at once.
var building sync.Mutex

// frames writes each piece as one frame.
type frames struct {
	to   io.Writer
	lock *sync.Mutex
	kind byte
}

func (f frames) Write(piece []byte) (int, error) {
	frame := make([]byte, 5, 5+len(piece))
	frame[0] = f.kind
	binary.BigEndian.PutUint32(frame[1:], uint32(len(piece)))
	f.lock.Lock()
	defer f.lock.Unlock()
	_, err := f.to.Write(append(frame, piece...))
	return len(piece), err
}
