// A jump host as K8shell's SSH proxy is one: a workspace is started for the first connection of a
// login, and connections are forwarded by policy.
//
//	workspaceproxy PORT AUTHORIZED_KEYS HOST_KEY [NAME=VALUE...]
//
// It rejects all global requests and every channel except direct-tcpip. It confirms a channel
// before it has a workspace, asks its policy, or connects; what fails then ends the channel. Users
// who are new are sent to a web page first, and log in with their key afterwards.
//
//	start=4s        how long a workspace takes to start
//	limit=15        connections of one login at a time
//	permit=80,7     the ports that the policy permits; default: all
//	confirm=late    confirms a channel once it is connected, and denies with a reason
//	refuse=reason   no forwarding at all: every channel is rejected with this text
//	new=USER        a user who is new
//	ask=FILE        what a new user is asked
//
// Prints `ready`, and a line for each event: `connection`, `login USER`, `refused USER`,
// `request TYPE`, `channel TYPE`, `workspace started`.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// As K8shell's.
const (
	handshakeTime = 15 * time.Second
	authTries     = 6
	version       = "SSH-2.0-ssh-proxy_1.0.0/0000000_k8shell.io"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

type server struct {
	keys    string
	options map[string]string
	start   time.Duration
	limit   int

	lock      sync.Mutex
	onboarded bool
}

func main() {
	s := &server{keys: os.Args[2], options: map[string]string{}, limit: 15}
	for _, argument := range os.Args[4:] {
		name, value, _ := strings.Cut(argument, "=")
		s.options[name] = value
	}
	if text, given := s.options["start"]; given {
		s.start = must(time.ParseDuration(text))
	}
	if text, given := s.options["limit"]; given {
		s.limit = must(strconv.Atoi(text))
	}
	hostKey := must(ssh.ParsePrivateKey(must(os.ReadFile(os.Args[3]))))
	listener := must(net.Listen("tcp", ":"+os.Args[1]))
	fmt.Println("ready")
	for {
		go s.serve(must(listener.Accept()), hostKey)
	}
}

// Looked up for each login, as in a directory.
func (s *server) knows(wanted ssh.PublicKey) bool {
	for rest := must(os.ReadFile(s.keys)); len(rest) > 0; {
		key, _, _, next, err := ssh.ParseAuthorizedKey(rest)
		if err != nil {
			return false
		}
		if bytes.Equal(key.Marshal(), wanted.Marshal()) {
			return true
		}
		rest = next
	}
	return false
}

func (s *server) isNew(user string) bool {
	s.lock.Lock()
	defer s.lock.Unlock()
	return user == s.options["new"] && !s.onboarded
}

func (s *server) config(hostKey ssh.Signer) *ssh.ServerConfig {
	byKey := func(connection ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if !s.knows(key) {
			return nil, fmt.Errorf("not a key of this user")
		}
		return nil, nil
	}
	byPage := func(
		connection ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge,
	) (*ssh.Permissions, error) {
		text := string(must(os.ReadFile(s.options["ask"])))
		if _, err := ask("", "", []string{text}, []bool{true}); err != nil {
			return nil, err
		}
		s.lock.Lock()
		s.onboarded = true
		s.lock.Unlock()
		return nil, &ssh.PartialSuccessError{Next: ssh.ServerAuthCallbacks{PublicKeyCallback: byKey}}
	}
	config := &ssh.ServerConfig{
		ServerVersion: version,
		MaxAuthTries:  authTries,
		PublicKeyCallback: func(
			connection ssh.ConnMetadata, key ssh.PublicKey,
		) (*ssh.Permissions, error) {
			if s.isNew(connection.User()) {
				next := ssh.ServerAuthCallbacks{KeyboardInteractiveCallback: byPage}
				return nil, &ssh.PartialSuccessError{Next: next}
			}
			return byKey(connection, key)
		},
	}
	config.AddHostKey(hostKey)
	return config
}

func (s *server) serve(socket net.Conn, hostKey ssh.Signer) {
	fmt.Println("connection")
	defer socket.Close()
	user := "-"
	config := s.config(hostKey)
	config.AuthLogCallback = func(connection ssh.ConnMetadata, _ string, _ error) {
		user = connection.User()
	}
	_ = socket.SetReadDeadline(time.Now().Add(handshakeTime))
	connection, channels, requests, err := ssh.NewServerConn(socket, config)
	if err != nil {
		fmt.Println("refused", user)
		return
	}
	_ = socket.SetReadDeadline(time.Time{})
	fmt.Println("login", user)
	defer connection.Close()
	go func() {
		for request := range requests {
			fmt.Println("request", request.Type)
			if request.WantReply {
				_ = request.Reply(false, nil)
			}
		}
	}()
	l := &login{server: s}
	for asked := range channels {
		if asked.ChannelType() != "direct-tcpip" {
			fmt.Println("channel", asked.ChannelType())
			_ = asked.Reject(ssh.UnknownChannelType, "channel type not supported")
			continue
		}
		go l.forward(asked)
	}
}

// One login and its workspace.
type login struct {
	*server
	workspace sync.Once
	count     sync.Mutex
	open      int
}

// RFC 4254 §7.2.
type directTCPIP struct {
	Host           string
	Port           uint32
	Originator     string
	OriginatorPort uint32
}

func (l *login) enter() bool {
	l.count.Lock()
	defer l.count.Unlock()
	if l.open >= l.limit {
		return false
	}
	l.open++
	return true
}

func (l *login) leave() {
	l.count.Lock()
	l.open--
	l.count.Unlock()
}

func (l *login) permits(port uint32) bool {
	list, given := l.options["permit"]
	return !given || strings.Contains(","+list+",", fmt.Sprintf(",%d,", port))
}

// Starts the workspace, asks the policy, and connects.
func (l *login) reach(to directTCPIP) (net.Conn, ssh.RejectionReason, error) {
	l.workspace.Do(func() {
		time.Sleep(l.start)
		fmt.Println("workspace started")
	})
	if !l.permits(to.Port) {
		return nil, ssh.Prohibited, fmt.Errorf("denied by policy")
	}
	target, err := net.Dial("tcp", net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port))))
	return target, ssh.ConnectionFailed, err
}

func (l *login) forward(asked ssh.NewChannel) {
	var to directTCPIP
	if ssh.Unmarshal(asked.ExtraData(), &to) != nil {
		_ = asked.Reject(ssh.UnknownChannelType, "invalid payload")
		return
	}
	if reason, given := l.options["refuse"]; given {
		_ = asked.Reject(ssh.Prohibited, reason)
		return
	}
	if !l.enter() {
		_ = asked.Reject(ssh.ResourceShortage,
			fmt.Sprintf("maximum direct-tcpip connections exceeded (%d)", l.limit))
		return
	}
	defer l.leave()
	var target net.Conn
	if l.options["confirm"] == "late" {
		var reason ssh.RejectionReason
		var err error
		if target, reason, err = l.reach(to); err != nil {
			_ = asked.Reject(reason, err.Error())
			return
		}
		defer target.Close()
	}
	channel, requests, err := asked.Accept()
	if err != nil {
		return
	}
	defer channel.Close()
	go ssh.DiscardRequests(requests)
	if target == nil {
		if target, _, err = l.reach(to); err != nil {
			return
		}
		defer target.Close()
	}
	join(channel, target.(*net.TCPConn))
}

func join(channel ssh.Channel, target *net.TCPConn) {
	var both sync.WaitGroup
	both.Add(2)
	go func() {
		defer both.Done()
		_, _ = io.Copy(target, channel)
		_ = target.CloseWrite()
	}()
	go func() {
		defer both.Done()
		_, _ = io.Copy(channel, target)
		_ = channel.CloseWrite()
	}()
	both.Wait()
}
