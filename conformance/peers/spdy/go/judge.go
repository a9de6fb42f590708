package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/moby/spdystream/spdy"
)

// What one round trip may hold, so that nothing here grows with what is asked.
const (
	maxInputs = 1000
	maxInput  = 256 << 10
	maxBatch  = 8 << 20
	maxFrames = 256
	// Longer bytes are told by length and hash.
	maxShown = 24
	memory   = 256 << 20
)

// judge reads batches, a count and as many inputs each behind its length, and answers all inputs of a batch
// in their order, each answer behind its length. It ends with its input.
func judge() error {
	debug.SetMemoryLimit(memory)
	in, out := bufio.NewReaderSize(os.Stdin, 64<<10), bufio.NewWriterSize(os.Stdout, 64<<10)
	var word [4]byte
	for {
		if _, err := io.ReadFull(in, word[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		inputs, err := batch(in, binary.BigEndian.Uint32(word[:]))
		if err != nil {
			return err
		}
		for _, input := range inputs {
			answer := opinion(input)
			binary.BigEndian.PutUint32(word[:], uint32(len(answer)))
			if _, err := out.Write(append(word[:], answer...)); err != nil {
				return err
			}
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
}

// batch reads all of it before anything is answered: then neither end waits for the other.
func batch(in io.Reader, count uint32) ([][]byte, error) {
	if count > maxInputs {
		return nil, fmt.Errorf("a batch of %d inputs", count)
	}
	inputs, total := make([][]byte, count), 0
	for i := range inputs {
		var word [4]byte
		if _, err := io.ReadFull(in, word[:]); err != nil {
			return nil, err
		}
		n := binary.BigEndian.Uint32(word[:])
		if n > maxInput || total+int(n) > maxBatch {
			return nil, fmt.Errorf("an input of %d bytes behind %d", n, total)
		}
		total += int(n)
		inputs[i] = make([]byte, n)
		if _, err := io.ReadFull(in, inputs[i]); err != nil {
			return nil, err
		}
	}
	return inputs, nil
}

// source knows whether it was asked for more than there is.
type source struct {
	bytes.Reader
	starved bool
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	s.starved = s.starved || errors.Is(err, io.EOF)
	return n, err
}

// opinion is the frames of one direction of a fresh connection and how it ends: "end" between two frames,
// "more" where it needs bytes that are not there, "cut" at the greatest number of frames, or "refused: why".
func opinion(input []byte) []byte {
	var out bytes.Buffer
	out.WriteString(judged(&out, input))
	return out.Bytes()
}

func judged(out *bytes.Buffer, input []byte) (end string) {
	defer func() {
		if r := recover(); r != nil {
			end = fmt.Sprintf("panic: %v", r)
		}
	}()
	in := &source{}
	in.Reset(input)
	framer, err := spdy.NewFramer(io.Discard, in)
	if err != nil {
		return err.Error()
	}
	for range maxFrames {
		if in.Len() == 0 {
			return "end"
		}
		frame, err := framer.ReadFrame()
		switch {
		case err == nil:
			out.WriteString(tell(frame))
			out.WriteByte('\n')
		case in.starved:
			return "more"
		default:
			return "refused: " + err.Error()
		}
	}
	return "cut"
}

// tell is a frame without loss but for long bytes.
func tell(frame spdy.Frame) string {
	switch f := frame.(type) {
	case *spdy.SynStreamFrame:
		return fmt.Sprintf("SYN_STREAM %d flags %d associated %d priority %d slot %d%s", f.StreamId, f.CFHeader.Flags,
			f.AssociatedToStreamId, f.Priority, f.Slot, tellHeaders(f.Headers))
	case *spdy.SynReplyFrame:
		return fmt.Sprintf("SYN_REPLY %d flags %d%s", f.StreamId, f.CFHeader.Flags, tellHeaders(f.Headers))
	case *spdy.HeadersFrame:
		return fmt.Sprintf("HEADERS %d flags %d%s", f.StreamId, f.CFHeader.Flags, tellHeaders(f.Headers))
	case *spdy.RstStreamFrame:
		return fmt.Sprintf("RST_STREAM %d flags %d status %d", f.StreamId, f.CFHeader.Flags, f.Status)
	case *spdy.SettingsFrame:
		var entries strings.Builder
		for _, e := range f.FlagIdValues {
			fmt.Fprintf(&entries, " %d.%d=%d", e.Flag, e.Id, e.Value)
		}
		return fmt.Sprintf("SETTINGS flags %d%s", f.CFHeader.Flags, entries.String())
	case *spdy.PingFrame:
		return fmt.Sprintf("PING %d flags %d", f.Id, f.CFHeader.Flags)
	case *spdy.GoAwayFrame:
		return fmt.Sprintf("GOAWAY %d flags %d status %d", f.LastGoodStreamId, f.CFHeader.Flags, f.Status)
	case *spdy.WindowUpdateFrame:
		return fmt.Sprintf("WINDOW_UPDATE %d flags %d delta %d", f.StreamId, f.CFHeader.Flags, f.DeltaWindowSize)
	case *spdy.DataFrame:
		return fmt.Sprintf("DATA %d flags %d %s", f.StreamId, f.Flags, tellBytes(f.Data))
	}
	return fmt.Sprintf("%T", frame)
}

// tellHeaders sorts by name: the map has no order. Its names are in the canonical form of HTTP/1.
func tellHeaders(h map[string][]string) string {
	lower := func(name string) string {
		return strings.Map(func(r rune) rune {
			if 'A' <= r && r <= 'Z' {
				return r + 'a' - 'A'
			}
			return r
		}, name)
	}
	byName := make(map[string][]string, len(h))
	names := make([]string, 0, len(h))
	for name, values := range h {
		byName[lower(name)] = values
		names = append(names, lower(name))
	}
	slices.Sort(names)
	var out strings.Builder
	for _, name := range names {
		out.WriteByte(' ')
		out.WriteString(tellBytes([]byte(name)))
		between := byte('=')
		for _, value := range byName[name] {
			out.WriteByte(between)
			out.WriteString(tellBytes([]byte(value)))
			between = ','
		}
	}
	return out.String()
}

func tellBytes(b []byte) string {
	if len(b) <= maxShown {
		return hex.EncodeToString(b)
	}
	hash := fnv.New64a()
	hash.Write(b)
	return fmt.Sprintf("#%d-%016x", len(b), hash.Sum64())
}
