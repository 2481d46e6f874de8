// A jump host written with golang.org/x/crypto/ssh, as many Go programs have one:
// xcryptoserver PORT AUTHORIZED_KEYS HOST_KEY. It dials with net.Dial and passes the error on, as
// x/crypto's users do; port 9 is denied; global requests are rejected. Prints "ready",
// and the type of every other channel that somebody opens.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"

	"golang.org/x/crypto/ssh"
)

const deniedPort = 9

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	known := map[string]bool{}
	for rest := must(os.ReadFile(os.Args[2])); len(rest) > 0; {
		key, _, _, next, err := ssh.ParseAuthorizedKey(rest)
		if err != nil {
			break
		}
		known[string(key.Marshal())] = true
		rest = next
	}
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if known[string(key.Marshal())] {
				return nil, nil
			}
			return nil, fmt.Errorf("not an authorized key")
		},
	}
	config.AddHostKey(must(ssh.ParsePrivateKey(must(os.ReadFile(os.Args[3])))))
	listener := must(net.Listen("tcp", ":"+os.Args[1]))
	fmt.Println("ready")
	for {
		go serve(must(listener.Accept()), config)
	}
}

func serve(socket net.Conn, config *ssh.ServerConfig) {
	connection, channels, requests, err := ssh.NewServerConn(socket, config)
	if err != nil {
		return
	}
	defer connection.Close()
	go ssh.DiscardRequests(requests)
	for channel := range channels {
		go forward(channel)
	}
}

// RFC 4254 §7.2.
type directTCPIP struct {
	Host           string
	Port           uint32
	Originator     string
	OriginatorPort uint32
}

func forward(asked ssh.NewChannel) {
	var to directTCPIP
	switch {
	case asked.ChannelType() != "direct-tcpip":
		fmt.Println(asked.ChannelType())
		_ = asked.Reject(ssh.UnknownChannelType, "unsupported channel type")
		return
	case ssh.Unmarshal(asked.ExtraData(), &to) != nil:
		_ = asked.Reject(ssh.ConnectionFailed, "malformed")
		return
	case to.Port == deniedPort:
		_ = asked.Reject(ssh.Prohibited, "port forwarding is denied")
		return
	}
	target, err := net.Dial("tcp", net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port))))
	if err != nil {
		_ = asked.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	channel, requests, err := asked.Accept()
	if err != nil {
		target.Close()
		return
	}
	go ssh.DiscardRequests(requests)
	var both sync.WaitGroup
	both.Add(2)
	go func() {
		defer both.Done()
		_, _ = io.Copy(target, channel)
		_ = target.(*net.TCPConn).CloseWrite()
	}()
	go func() {
		defer both.Done()
		_, _ = io.Copy(channel, target)
		_ = channel.CloseWrite()
	}()
	both.Wait()
	channel.Close()
	target.Close()
}
