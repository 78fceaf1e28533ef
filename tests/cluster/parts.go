package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// parts are the running applets: children of the supervisor that cannot outlive it.
type parts struct {
	root     string
	running  map[string]*part
	ends     chan error // the first end of a part that nobody asked for, and all later ones
	finished sync.WaitGroup
}

// part is one run of an applet.
type part struct {
	command *exec.Cmd
	asked   atomic.Bool // its end was asked for
	ended   chan struct{}
}

func newParts(root string) *parts {
	return &parts{root: root, running: map[string]*part{}, ends: make(chan error, 16)}
}

// start runs an applet with its output in <root>/<applet>.log. It has to be
// called from the supervisor's locked thread: see supervise.
func (p *parts) start(applet string, environment []string, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	logPath := filepath.Join(p.root, applet+".log")
	log, err := os.Create(logPath)
	if err != nil {
		return err
	}
	defer log.Close()
	command := &exec.Cmd{
		Path: self, Args: append([]string{applet}, args...),
		Dir: p.root, Env: append(os.Environ(), environment...),
		Stdout: log, Stderr: log,
		SysProcAttr: &syscall.SysProcAttr{
			Pdeathsig: syscall.SIGKILL,
			Setpgid:   true, // a Ctrl-C at the terminal is the supervisor's to handle
		},
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", applet, err)
	}
	one := &part{command: command, ended: make(chan struct{})}
	p.running[applet] = one
	p.finished.Go(func() {
		err := command.Wait()
		if !one.asked.Load() {
			p.ends <- fmt.Errorf("%s ended (%v): %s", applet, err, tail(logPath))
		}
		close(one.ended)
	})
	return nil
}

// stop ends one part at once, to be started again.
func (p *parts) stop(applet string) {
	if one := p.running[applet]; one != nil {
		one.asked.Store(true)
		_ = one.command.Process.Kill()
		<-one.ended
		delete(p.running, applet)
	}
}

// startReady is start for a part that tells systemd, or whoever stands in for it, that it serves.
func (p *parts) startReady(ctx context.Context, applet string, args ...string) error {
	// An abstract socket leaves no file behind and knows no limit on directory names.
	address := &net.UnixAddr{Net: "unixgram", Name: fmt.Sprintf("@testcluster-%d-%s", os.Getpid(), applet)}
	socket, err := net.ListenUnixgram("unixgram", address)
	if err != nil {
		return err
	}
	defer socket.Close()
	if err := p.start(applet, []string{"NOTIFY_SOCKET=" + address.Name}, args...); err != nil {
		return err
	}
	ready := make(chan error, 1)
	go func() {
		message := make([]byte, 4096)
		for {
			n, err := socket.Read(message)
			if err != nil || strings.Contains(string(message[:n]), "READY=1") {
				ready <- err
				return
			}
		}
	}()
	select {
	case err := <-ready:
		return err
	case end := <-p.ends:
		return end
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w: %s", applet, context.Cause(ctx), tail(filepath.Join(p.root, applet+".log")))
	}
}

func (p *parts) pids() map[string]int {
	pids := map[string]int{}
	for applet, one := range p.running {
		pids[applet] = one.command.Process.Pid
	}
	return pids
}

// kill ends every part and waits until all are gone. Nothing they hold is worth an orderly end.
func (p *parts) kill() {
	for _, one := range p.running {
		_ = one.command.Process.Kill()
	}
	p.finished.Wait()
}

// tail is the end of a log, for an error message.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
