package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media/h264writer"
	"github.com/pion/webrtc/v4/pkg/media/oggwriter"
)

// result is printed as JSON; `cpu` and `packets` are of the measured time only.
type result struct {
	CPU     float64 `json:"cpu"`
	Seconds float64 `json:"seconds"`
	Packets int64   `json:"packets"`
	Lost    int64   `json:"lost"`
	RSS     int64   `json:"rss"`
}

type writer interface {
	WriteRTP(*rtp.Packet) error
	Close() error
}

type receiver struct {
	folder        string
	packets, lost atomic.Int64
}

func receive(arguments []string) error {
	flags := flag.NewFlagSet("receive", flag.ExitOnError)
	from := flags.String("from", "", "address of the sender's signalling")
	streams := flags.Int("streams", 1, "users, each with video and audio")
	warmup := flags.Duration("warmup", 3*time.Second, "time before the measurement")
	seconds := flags.Duration("time", 10*time.Second, "time of the measurement")
	folder := flags.String("folder", ".", "where the files go")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	api, err := newAPI(0)
	if err != nil {
		return err
	}
	connection, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return err
	}
	r := &receiver{folder: *folder}
	connection.OnTrack(func(track *webrtc.TrackRemote, from *webrtc.RTPReceiver) {
		go drain(from)
		if err := r.save(track); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	})
	if err := join(connection, *from, *streams); err != nil {
		return err
	}
	time.Sleep(*warmup)
	start, cpu, packets := time.Now(), processorTime(), r.packets.Load()
	time.Sleep(*seconds)
	usage := syscall.Rusage{}
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result{
		CPU:     processorTime() - cpu,
		Seconds: time.Since(start).Seconds(),
		Packets: r.packets.Load() - packets,
		Lost:    r.lost.Load(),
		RSS:     usage.Maxrss * 1024,
	})
}

func join(connection *webrtc.PeerConnection, address string, streams int) error {
	response, err := http.Get(fmt.Sprintf("http://%s/offer?streams=%d", address, streams))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var offered offer
	if err := json.NewDecoder(response.Body).Decode(&offered); err != nil {
		return err
	}
	remote := webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offered.SDP}
	if err := connection.SetRemoteDescription(remote); err != nil {
		return err
	}
	answer, err := connection.CreateAnswer(nil)
	if err != nil {
		return err
	}
	sdp, err := describe(connection, answer)
	if err != nil {
		return err
	}
	url := fmt.Sprintf("http://%s/answer?id=%s", address, offered.ID)
	answered, err := http.Post(url, "application/sdp", strings.NewReader(sdp))
	if err != nil {
		return err
	}
	defer answered.Body.Close()
	if answered.StatusCode != http.StatusOK {
		return fmt.Errorf("the sender does not take the answer: %s", answered.Status)
	}
	return nil
}

func drain(from *webrtc.RTPReceiver) {
	buffer := make([]byte, 1500)
	for {
		if _, _, err := from.Read(buffer); err != nil {
			return
		}
	}
}

// save writes a track with pion's own writers until it ends.
func (r *receiver) save(track *webrtc.TrackRemote) error {
	path := filepath.Join(r.folder, track.ID())
	var out writer
	var err error
	if track.Kind() == webrtc.RTPCodecTypeVideo {
		out, err = h264writer.New(path + ".h264")
	} else {
		out, err = oggwriter.New(path+".ogg", 48000, 2)
	}
	if err != nil {
		return err
	}
	defer out.Close()
	var next uint16
	for first := true; ; first = false {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return nil // the track is over
		}
		r.packets.Add(1)
		if ahead := int16(packet.SequenceNumber - next); !first && ahead > 0 {
			r.lost.Add(int64(ahead))
		}
		next = packet.SequenceNumber + 1
		if err := out.WriteRTP(packet); err != nil {
			return err
		}
	}
}

func processorTime() float64 {
	usage := syscall.Rusage{}
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}
