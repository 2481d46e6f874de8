// A jump host written with gliderlabs/ssh, whose channels end with CHANNEL_CLOSE alone:
// gliderserver PORT AUTHORIZED_KEYS HOST_KEY. Port 9 is denied. Prints "ready", and "session" when
// somebody opens a session channel.
package main

import (
	"bytes"
	"fmt"
	"net"
	"os"

	"github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"
)

const deniedPort = 9

func session(_ *ssh.Server, _ *gossh.ServerConn, asked gossh.NewChannel, _ ssh.Context) {
	fmt.Println("session")
	_ = asked.Reject(gossh.UnknownChannelType, "only direct-tcpip")
}

func main() {
	lines, err := os.ReadFile(os.Args[2])
	if err != nil {
		panic(err)
	}
	server := &ssh.Server{
		ChannelHandlers: map[string]ssh.ChannelHandler{
			"direct-tcpip": ssh.DirectTCPIPHandler,
			"session":      session,
		},
		PublicKeyHandler: func(_ ssh.Context, key ssh.PublicKey) bool {
			for _, line := range bytes.Split(lines, []byte("\n")) {
				known, _, _, _, err := ssh.ParseAuthorizedKey(line)
				if err == nil && ssh.KeysEqual(known, key) {
					return true
				}
			}
			return false
		},
		LocalPortForwardingCallback: func(_ ssh.Context, _ string, port uint32) bool {
			return port != deniedPort
		},
	}
	if err := server.SetOption(ssh.HostKeyFile(os.Args[3])); err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp", ":"+os.Args[1])
	if err != nil {
		panic(err)
	}
	fmt.Println("ready")
	panic(server.Serve(listener))
}
