package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// startLimit is how long a start may take on a machine that has better things to do.
const startLimit = 90 * time.Second

// announcement is the one line a supervisor prints, and cluster.json.
type announcement struct {
	Dir               string         `json:"dir"`
	Pid               int            `json:"pid"`
	Children          map[string]int `json:"children"`
	Server            string         `json:"server"`
	Kubeconfig        string         `json:"kubeconfig"`
	Users             string         `json:"users"`
	AuditLog          string         `json:"auditLog"`
	KubernetesVersion string         `json:"kubernetesVersion"`
	StartedInMillis   int64          `json:"startedInMillis"`
}

// superviseMain starts every part, says when the cluster works, and takes all of it down again.
func superviseMain(args []string) int {
	flags := flag.NewFlagSet("supervise", flag.ExitOnError)
	dir := flags.String("dir", "", "directory of the cluster's files, created if missing")
	lifeline := flags.Bool("lifeline", false, "end when standard input reaches its end")
	ephemeral := flags.Bool("ephemeral", false, "remove the directory at the end")
	detach := flags.Bool("detach", false, "leave the cluster running in a session of its own and return once it is ready")
	_ = flags.Parse(args)
	if *dir == "" || flags.NArg() > 0 {
		flags.Usage()
		return 2
	}
	// What was inherited by accident, a pipe of the shell's say, is not handed on:
	// its reader would wait for its end for as long as the cluster runs.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	root, err := filepath.Abs(*dir)
	if err == nil {
		err = os.MkdirAll(root, 0o700)
	}
	if err == nil && *detach {
		err = superviseDetached(root)
	} else if err == nil {
		err = supervise(root, *lifeline)
		if *ephemeral {
			err = errors.Join(err, os.RemoveAll(root))
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "testcluster: %v\n", err)
		return 1
	}
	return 0
}

// superviseDetached starts a supervisor in a session of its own and waits for its one line.
func superviseDetached(root string) error {
	logPath := filepath.Join(root, "supervise.log")
	log, err := os.Create(logPath)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	command := exec.Command(self, "supervise", "--dir", root)
	command.Stderr = log
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	output, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	// The supervisor closes its standard output after the line, or when it fails.
	line, err := io.ReadAll(output)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(line)) == 0 {
		_ = command.Wait()
		return fmt.Errorf("the cluster did not start: %s", tail(logPath))
	}
	_, err = os.Stdout.Write(line)
	return err
}

// supervise runs the cluster until a signal, the lifeline's end, or the end of one of its parts.
func supervise(root string, lifeline bool) error {
	// The kernel sends a child its parent-death signal when the *thread* that
	// started it ends. This goroutine keeps its thread until the process is over.
	runtime.LockOSThread()

	started := time.Now()
	lock, err := lockDirectory(root)
	if err != nil {
		return err
	}
	defer lock.Close()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	if lifeline {
		var cut context.CancelFunc
		ctx, cut = context.WithCancel(ctx)
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cut()
		}()
	}

	restarts, err := listenForRestarts()
	if err != nil {
		return err
	}
	parts := newParts(root)
	defer parts.kill()
	cluster, err := start(ctx, root, parts)
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to end before it had begun
		}
		return err
	}
	line := announcement{
		Dir: root, Pid: os.Getpid(), Children: parts.pids(),
		Server: cluster.server, Kubeconfig: cluster.kubeconfig(adminUser), Users: filepath.Join(root, "users"),
		AuditLog: cluster.auditLog(), KubernetesVersion: kubernetesVersion(),
		StartedInMillis: time.Since(started).Milliseconds(),
	}
	if err := announce(root, line); err != nil {
		return err
	}

	for {
		select {
		case <-ctx.Done():
			return nil
		case end := <-parts.ends:
			return end
		case asker := <-restarts:
			if err := cluster.restartServer(ctx, parts); err != nil {
				return err
			}
			// Who asked may be gone.
			_ = asker.Close()
		}
	}
}

// listenForRestarts gives a connection for each wish to have the API server restarted. It is closed when that is done.
func listenForRestarts() (<-chan net.Conn, error) {
	// An abstract socket leaves no file behind and knows no limit on directory names.
	socket, err := net.Listen("unix", fmt.Sprintf("@testcluster-%d-restart", os.Getpid()))
	if err != nil {
		return nil, err
	}
	restarts := make(chan net.Conn)
	go func() {
		for {
			asker, err := socket.Accept()
			if err != nil {
				return
			}
			restarts <- asker
		}
	}()
	return restarts, nil
}

// lockDirectory takes the lock that tells whether a directory's cluster is alive:
// unlike a PID it cannot be inherited by a stranger.
func lockDirectory(root string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(root, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("a cluster is already running in %s", root)
	}
	return lock, nil
}

func announce(root string, line announcement) error {
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	text = append(text, '\n')
	path := filepath.Join(root, "cluster.json")
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	if _, err := os.Stdout.Write(text); err != nil {
		return err
	}
	return os.Stdout.Close()
}
