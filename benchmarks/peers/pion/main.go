// The peer of the capture benchmark: pion as the sender of both receivers, and as the receiver to compare with.
//
//	pion send -video FILE -audio FILE             encoded frames over one connection, as an SFU sends them
//	pion receive -from ADDRESS -streams N …       every track into a raw file (.h264, .ogg)
package main

import (
	"fmt"
	"log"
	"os"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: pion send|receive [flags]")
	}
	var err error
	switch command, arguments := os.Args[1], os.Args[2:]; command {
	case "send":
		err = send(arguments)
	case "receive":
		err = receive(arguments)
	default:
		err = fmt.Errorf("no such command: %s", command)
	}
	if err != nil {
		log.Fatal(err)
	}
}
