// Connects to an address with Go's own network stack, without libc, and prints the answer to a GET.
package main

import (
	"io"
	"net"
	"os"
)

func main() {
	connection, err := net.Dial("tcp", os.Args[1])
	if err != nil {
		panic(err)
	}
	io.WriteString(connection, "GET / HTTP/1.0\r\n\r\n")
	io.Copy(os.Stdout, connection)
}
