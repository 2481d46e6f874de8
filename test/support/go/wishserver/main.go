// A jump host written with charmbracelet/wish: wishserver PORT AUTHORIZED_KEYS HOST_KEY. Port 9 is
// denied. Prints "ready", and "session" when somebody opens a session channel.
package main

import (
	"fmt"
	"net"
	"os"

	"github.com/charmbracelet/ssh"
	"github.com/charmbracelet/wish"
	gossh "golang.org/x/crypto/ssh"
)

const deniedPort = 9

func session(_ *ssh.Server, _ *gossh.ServerConn, asked gossh.NewChannel, _ ssh.Context) {
	fmt.Println("session")
	_ = asked.Reject(gossh.UnknownChannelType, "only direct-tcpip")
}

func main() {
	server, err := wish.NewServer(
		wish.WithAuthorizedKeys(os.Args[2]),
		wish.WithHostKeyPath(os.Args[3]),
		func(server *ssh.Server) error {
			server.ChannelHandlers = map[string]ssh.ChannelHandler{
				"direct-tcpip": ssh.DirectTCPIPHandler,
				"session":      session,
			}
			server.LocalPortForwardingCallback = func(_ ssh.Context, _ string, port uint32) bool {
				return port != deniedPort
			}
			return nil
		},
	)
	if err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp", ":"+os.Args[1])
	if err != nil {
		panic(err)
	}
	fmt.Println("ready")
	panic(server.Serve(listener))
}
