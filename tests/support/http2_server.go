// Serves a folder over TLS and HTTP/2, and prints of every request its protocol, client and path.
//
//	http2_server FOLDER CERTIFICATE KEY
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	files := http.FileServer(http.Dir(os.Args[1]))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	answer := func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Proto, r.RemoteAddr, r.URL.Path)
		files.ServeHTTP(w, r)
	}
	log.Fatal(http.ServeTLS(listener, http.HandlerFunc(answer), os.Args[2], os.Args[3]))
}
