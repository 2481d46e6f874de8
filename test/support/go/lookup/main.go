// Resolves a name with Go's resolver (GODEBUG=netdns=go or cgo) and fetches http://NAME/: prints
// the resolver's addresses, one a line, then the body.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	name := os.Args[1]
	addresses, err := net.LookupHost(name)
	if err != nil {
		if failure, ok := err.(*net.DNSError); ok && failure.IsNotFound {
			fmt.Println("not found")
			return
		}
		fmt.Println(err)
		os.Exit(1)
	}
	for _, address := range addresses {
		fmt.Println(address)
	}
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get("http://" + name + "/")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	defer response.Body.Close()
	io.Copy(os.Stdout, response.Body)
}
