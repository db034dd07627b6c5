package main

import (
	"math/rand/v2"
	"net"

	"github.com/pion/transport/v5"
)

// lossyNet loses this share of all datagrams, each by itself, in both directions: media one way, reports and requests
// the other.
type lossyNet struct {
	roomyNet
	share float64
}

type lossyConnection struct {
	transport.UDPConn
	share float64
}

func (n lossyNet) ListenUDP(network string, address *net.UDPAddr) (transport.UDPConn, error) {
	connection, err := n.roomyNet.ListenUDP(network, address)
	if err != nil || n.share == 0 {
		return connection, err
	}
	return lossyConnection{connection, n.share}, nil
}

func (c lossyConnection) ReadFrom(buffer []byte) (int, net.Addr, error) {
	for {
		size, from, err := c.UDPConn.ReadFrom(buffer)
		if err != nil || rand.Float64() >= c.share {
			return size, from, err
		}
	}
}

func (c lossyConnection) WriteTo(data []byte, to net.Addr) (int, error) {
	if rand.Float64() < c.share {
		return len(data), nil
	}
	return c.UDPConn.WriteTo(data, to)
}
