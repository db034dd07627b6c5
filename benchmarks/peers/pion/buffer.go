package main

import (
	"net"
	"syscall"

	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/stdnet"
)

const (
	receiveBuffer = 4 << 20 // bytes, as many as the recorder's
	soRcvBufForce = 33
)

// roomyNet gives sockets the receive buffer that the recorder's have: on a busy machine pion would else lose
// packets, and pay for asking for them again.
type roomyNet struct{ *stdnet.Net }

func (n roomyNet) ListenUDP(network string, address *net.UDPAddr) (transport.UDPConn, error) {
	connection, err := net.ListenUDP(network, address)
	if err != nil {
		return nil, err
	}
	raw, err := connection.SyscallConn()
	if err != nil {
		return nil, err
	}
	if err := raw.Control(func(fd uintptr) {
		if syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soRcvBufForce, receiveBuffer) != nil {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, receiveBuffer)
		}
	}); err != nil {
		return nil, err
	}
	return connection, nil
}
