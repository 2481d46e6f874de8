// A jump host written with gliderlabs/ssh, whose channels end with CHANNEL_CLOSE alone:
// gliderserver PORT AUTHORIZED_KEYS HOST_KEY. Prints "ready".
package main

import (
	"bytes"
	"fmt"
	"net"
	"os"

	"github.com/gliderlabs/ssh"
)

func main() {
	lines, err := os.ReadFile(os.Args[2])
	if err != nil {
		panic(err)
	}
	server := &ssh.Server{
		ChannelHandlers: map[string]ssh.ChannelHandler{"direct-tcpip": ssh.DirectTCPIPHandler},
		PublicKeyHandler: func(_ ssh.Context, key ssh.PublicKey) bool {
			for _, line := range bytes.Split(lines, []byte("\n")) {
				known, _, _, _, err := ssh.ParseAuthorizedKey(line)
				if err == nil && ssh.KeysEqual(known, key) {
					return true
				}
			}
			return false
		},
		LocalPortForwardingCallback: func(ssh.Context, string, uint32) bool { return true },
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
