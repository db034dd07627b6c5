package main

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
)

const (
	videoInterval = time.Second / 30
	audioInterval = 20 * time.Millisecond
)

// offer is what a receiver gets; it posts its answer's SDP to /answer?id=ID.
type offer struct {
	ID  string `json:"id"`
	SDP string `json:"sdp"`
}

type sender struct {
	video, audio [][]byte
	mutex        sync.Mutex
	connections  map[string]*webrtc.PeerConnection
}

func send(arguments []string) error {
	flags := flag.NewFlagSet("send", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:0", "address for signalling, printed on standard output")
	video := flags.String("video", "", "H.264 access units (Annex B), each after its length in four bytes")
	audio := flags.String("audio", "", "Opus packets, each after its length in four bytes")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	s := &sender{connections: map[string]*webrtc.PeerConnection{}}
	var err error
	if s.video, err = readFrames(*video); err != nil {
		return err
	}
	if s.audio, err = readFrames(*audio); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	http.HandleFunc("/offer", s.handle(s.offer))
	http.HandleFunc("/answer", s.handle(s.answer))
	fmt.Println(listener.Addr())
	go exitWithParent()
	return http.Serve(listener, nil)
}

func readFrames(path string) ([][]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var frames [][]byte
	for len(data) >= 4 {
		size := int(binary.BigEndian.Uint32(data))
		if data = data[4:]; size > len(data) {
			return nil, fmt.Errorf("%s is cut short", path)
		}
		frames = append(frames, data[:size])
		data = data[size:]
	}
	if len(frames) == 0 {
		return nil, fmt.Errorf("%s has no frames", path)
	}
	return frames, nil
}

func (s *sender) handle(serve func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := serve(w, r); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
}

// offer makes a connection with so many users (?streams=N), each with a video and an audio track, that loses a share of
// its datagrams (&loss=0.02). Media flows from the moment that it is connected until it is not.
func (s *sender) offer(w http.ResponseWriter, r *http.Request) error {
	streams, err := strconv.Atoi(r.URL.Query().Get("streams"))
	if err != nil {
		return err
	}
	loss, err := strconv.ParseFloat(cmp.Or(r.URL.Query().Get("loss"), "0"), 64)
	if err != nil {
		return err
	}
	api, err := newAPI(loss)
	if err != nil {
		return err
	}
	connection, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return err
	}
	var starts []func(time.Time, <-chan struct{})
	for user := range streams {
		for _, kind := range []struct {
			mime, name string
			frames     [][]byte
			interval   time.Duration
		}{
			{webrtc.MimeTypeH264, "video", s.video, videoInterval},
			{webrtc.MimeTypeOpus, "audio", s.audio, audioInterval},
		} {
			track, err := addTrack(connection, kind.mime, fmt.Sprintf("%s%d", kind.name, user), fmt.Sprintf("user%d", user))
			if err != nil {
				return errors.Join(err, connection.Close())
			}
			// users are spread over the clip, so that keyframes do not all come at once
			shift := user * len(kind.frames) / streams
			offset := time.Duration(user) * kind.interval / time.Duration(streams)
			starts = append(starts, func(start time.Time, done <-chan struct{}) {
				play(track, kind.frames, shift, kind.interval, start.Add(offset), done)
			})
		}
	}
	done := make(chan struct{})
	var started, ended sync.Once
	connection.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		switch state {
		case webrtc.PeerConnectionStateConnected:
			started.Do(func() {
				for _, start := range starts {
					go start(time.Now(), done)
				}
			})
		case webrtc.PeerConnectionStateDisconnected, webrtc.PeerConnectionStateFailed, webrtc.PeerConnectionStateClosed:
			ended.Do(func() { close(done); go connection.Close() })
		}
	})
	description, err := connection.CreateOffer(nil)
	if err != nil {
		return errors.Join(err, connection.Close())
	}
	sdp, err := describe(connection, description)
	if err != nil {
		return errors.Join(err, connection.Close())
	}
	s.mutex.Lock()
	id := strconv.Itoa(len(s.connections))
	s.connections[id] = connection
	s.mutex.Unlock()
	return json.NewEncoder(w).Encode(offer{ID: id, SDP: sdp})
}

func (s *sender) answer(_ http.ResponseWriter, r *http.Request) error {
	s.mutex.Lock()
	connection := s.connections[r.URL.Query().Get("id")]
	s.mutex.Unlock()
	if connection == nil {
		return errors.New("no such connection")
	}
	sdp, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	return connection.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(sdp)})
}

func addTrack(connection *webrtc.PeerConnection, mime, id, stream string) (*webrtc.TrackLocalStaticSample, error) {
	track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: mime}, id, stream)
	if err != nil {
		return nil, err
	}
	transceiver, err := connection.AddTransceiverFromTrack(
		track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly},
	)
	if err != nil {
		return nil, err
	}
	go func() { // feedback has to be read for the interceptors to see it
		buffer := make([]byte, 1500)
		for {
			if _, _, err := transceiver.Sender().Read(buffer); err != nil {
				return
			}
		}
	}()
	return track, nil
}

// play sends the frames over and over, the first at `start`, until `done`.
func play(
	track *webrtc.TrackLocalStaticSample, frames [][]byte, shift int, interval time.Duration, start time.Time,
	done <-chan struct{},
) {
	timer := time.NewTimer(time.Until(start))
	defer timer.Stop()
	for number := 0; ; number++ {
		select {
		case <-done:
			return
		case <-timer.C:
		}
		frame := frames[(number+shift)%len(frames)]
		if err := track.WriteSample(media.Sample{Data: frame, Duration: interval}); err != nil {
			return
		}
		timer.Reset(time.Until(start.Add(time.Duration(number+1) * interval)))
	}
}

// exitWithParent ends this process when whoever started it closes its standard input, or dies.
func exitWithParent() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}
