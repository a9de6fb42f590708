package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/moby/spdystream/spdy"
)

// One canonical line. Fields that a type does not have are left out.
type line map[string]any

func flag(flags spdy.ControlFlags, bit spdy.ControlFlags) bool { return flags&bit != 0 }

func pairs(h http.Header) map[string]string {
	out := map[string]string{}
	for name, values := range h {
		out[strings.ToLower(name)] = strings.Join(values, "\x00")
	}
	return out
}

func describe(frame spdy.Frame) line {
	switch f := frame.(type) {
	case *spdy.SynStreamFrame:
		return line{"type": "SYN_STREAM", "id": f.StreamId, "associated": f.AssociatedToStreamId,
			"priority": f.Priority, "slot": f.Slot, "fin": flag(f.CFHeader.Flags, spdy.ControlFlagFin),
			"unidirectional": flag(f.CFHeader.Flags, spdy.ControlFlagUnidirectional), "headers": pairs(f.Headers)}
	case *spdy.SynReplyFrame:
		return line{"type": "SYN_REPLY", "id": f.StreamId, "fin": flag(f.CFHeader.Flags, spdy.ControlFlagFin),
			"headers": pairs(f.Headers)}
	case *spdy.HeadersFrame:
		return line{"type": "HEADERS", "id": f.StreamId, "fin": flag(f.CFHeader.Flags, spdy.ControlFlagFin),
			"headers": pairs(f.Headers)}
	case *spdy.RstStreamFrame:
		return line{"type": "RST_STREAM", "id": f.StreamId, "status": f.Status}
	case *spdy.SettingsFrame:
		entries := [][3]uint32{}
		for _, e := range f.FlagIdValues {
			entries = append(entries, [3]uint32{uint32(e.Flag), uint32(e.Id), e.Value})
		}
		return line{"type": "SETTINGS", "clear": flag(f.CFHeader.Flags, spdy.ControlFlagSettingsClearSettings),
			"entries": entries}
	case *spdy.PingFrame:
		return line{"type": "PING", "id": f.Id}
	case *spdy.GoAwayFrame:
		return line{"type": "GOAWAY", "last": f.LastGoodStreamId, "status": f.Status}
	case *spdy.WindowUpdateFrame:
		return line{"type": "WINDOW_UPDATE", "id": f.StreamId, "delta": f.DeltaWindowSize}
	case *spdy.DataFrame:
		return line{"type": "DATA", "id": f.StreamId, "fin": f.Flags&spdy.DataFlagFin != 0,
			"data": hex.EncodeToString(f.Data)}
	}
	return line{"error": fmt.Sprintf("%T", frame)}
}

// chunked gives at most n bytes per read.
type chunked struct {
	r io.Reader
	n int
}

func (c chunked) Read(p []byte) (int, error) { return c.r.Read(p[:min(len(p), c.n)]) }

func decode(args []string) error {
	var input io.Reader = bufio.NewReader(os.Stdin)
	if len(args) > 0 {
		n, err := strconv.Atoi(args[0])
		if err != nil || n < 1 {
			return fmt.Errorf("not a chunk: %q", args[0])
		}
		input = chunked{input, n}
	}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	lines := json.NewEncoder(out)
	framer, err := spdy.NewFramer(io.Discard, input)
	if err != nil {
		return err
	}
	for {
		frame, err := framer.ReadFrame()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return lines.Encode(line{"error": err.Error()})
		}
		if err := lines.Encode(describe(frame)); err != nil {
			return err
		}
	}
}

// asked is a line to be encoded: all fields of all types.
type asked struct {
	Type           string
	ID             uint32
	Associated     uint32
	Priority, Slot uint8
	Fin            bool
	Unidirectional bool
	Clear          bool
	Headers        map[string]string
	Entries        [][3]uint32
	Status         uint32
	Last           uint32
	Delta          uint32
	Data           string
}

func (a asked) header() http.Header {
	h := http.Header{}
	for name, value := range a.Headers {
		h[name] = strings.Split(value, "\x00")
	}
	return h
}

func (a asked) frame() (spdy.Frame, error) {
	var flags spdy.ControlFlags
	if a.Fin {
		flags |= spdy.ControlFlagFin
	}
	if a.Unidirectional {
		flags |= spdy.ControlFlagUnidirectional
	}
	if a.Clear {
		flags |= spdy.ControlFlagSettingsClearSettings
	}
	head, id := spdy.ControlFrameHeader{Flags: flags}, spdy.StreamId(a.ID)
	switch a.Type {
	case "SYN_STREAM":
		return &spdy.SynStreamFrame{CFHeader: head, StreamId: id, AssociatedToStreamId: spdy.StreamId(a.Associated),
			Priority: a.Priority, Slot: a.Slot, Headers: a.header()}, nil
	case "SYN_REPLY":
		return &spdy.SynReplyFrame{CFHeader: head, StreamId: id, Headers: a.header()}, nil
	case "HEADERS":
		return &spdy.HeadersFrame{CFHeader: head, StreamId: id, Headers: a.header()}, nil
	case "RST_STREAM":
		return &spdy.RstStreamFrame{StreamId: id, Status: spdy.RstStreamStatus(a.Status)}, nil
	case "SETTINGS":
		frame := &spdy.SettingsFrame{CFHeader: head}
		for _, e := range a.Entries {
			frame.FlagIdValues = append(frame.FlagIdValues,
				spdy.SettingsFlagIdValue{Flag: spdy.SettingsFlag(e[0]), Id: spdy.SettingsId(e[1]), Value: e[2]})
		}
		return frame, nil
	case "PING":
		return &spdy.PingFrame{Id: a.ID}, nil
	case "GOAWAY":
		return &spdy.GoAwayFrame{LastGoodStreamId: spdy.StreamId(a.Last), Status: spdy.GoAwayStatus(a.Status)}, nil
	case "WINDOW_UPDATE":
		return &spdy.WindowUpdateFrame{StreamId: id, DeltaWindowSize: a.Delta}, nil
	case "DATA":
		data, err := hex.DecodeString(a.Data)
		if err != nil {
			return nil, err
		}
		frame := &spdy.DataFrame{StreamId: id, Data: data}
		if a.Fin {
			frame.Flags = spdy.DataFlagFin
		}
		return frame, nil
	}
	return nil, fmt.Errorf("cannot say %q", a.Type)
}

func encode() error {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	framer, err := spdy.NewFramer(out, os.Stdin)
	if err != nil {
		return err
	}
	lines := json.NewDecoder(bufio.NewReader(os.Stdin))
	for {
		var a asked
		if err := lines.Decode(&a); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		frame, err := a.frame()
		if err != nil {
			return err
		}
		if err := framer.WriteFrame(frame); err != nil {
			return err
		}
	}
}
