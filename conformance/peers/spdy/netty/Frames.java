import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufUtil;
import io.netty.buffer.Unpooled;
import io.netty.channel.embedded.EmbeddedChannel;
import io.netty.handler.codec.spdy.*;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Frames and lines of JSON. */
final class Frames {
    /** DATA frames in one piece, header blocks of 64 KiB, header names unchecked; the rest as by default. */
    static SpdyFrameCodec codec() {
        return new SpdyFrameCodec(SpdyVersion.SPDY_3_1, 1 << 24, 64 << 10, 6, 15, 8, false);
    }

    private static JsonObject headers(SpdyHeadersFrame frame) {
        JsonObject out = new JsonObject();
        for (CharSequence name : frame.headers().names()) {
            out.addProperty(name.toString(), String.join("\0", frame.headers().getAllAsString(name)));
        }
        return out;
    }

    static JsonObject describe(Object frame) {
        JsonObject out = new JsonObject();
        if (frame instanceof SpdyHeadersFrame f && (f.isInvalid() || f.isTruncated())) {
            out.addProperty("error", f.isInvalid() ? "invalid" : "truncated");
        } else if (frame instanceof SpdySynStreamFrame f) {
            out.addProperty("type", "SYN_STREAM");
            out.addProperty("id", f.streamId());
            out.addProperty("associated", f.associatedStreamId());
            out.addProperty("priority", f.priority());
            out.addProperty("fin", f.isLast());
            out.addProperty("unidirectional", f.isUnidirectional());
            out.add("headers", headers(f));
        } else if (frame instanceof SpdyHeadersFrame f) {
            out.addProperty("type", frame instanceof SpdySynReplyFrame ? "SYN_REPLY" : "HEADERS");
            out.addProperty("id", f.streamId());
            out.addProperty("fin", f.isLast());
            out.add("headers", headers(f));
        } else if (frame instanceof SpdyRstStreamFrame f) {
            out.addProperty("type", "RST_STREAM");
            out.addProperty("id", f.streamId());
            out.addProperty("status", f.status().code());
        } else if (frame instanceof SpdySettingsFrame f) {
            JsonArray entries = new JsonArray();
            for (int id : f.ids()) {
                JsonArray entry = new JsonArray();
                entry.add((f.isPersistValue(id) ? 1 : 0) | (f.isPersisted(id) ? 2 : 0));
                entry.add(id);
                entry.add(f.getValue(id));
                entries.add(entry);
            }
            out.addProperty("type", "SETTINGS");
            out.addProperty("clear", f.clearPreviouslyPersistedSettings());
            out.add("entries", entries);
        } else if (frame instanceof SpdyPingFrame f) {
            out.addProperty("type", "PING");
            out.addProperty("id", f.id());
        } else if (frame instanceof SpdyGoAwayFrame f) {
            out.addProperty("type", "GOAWAY");
            out.addProperty("last", f.lastGoodStreamId());
            out.addProperty("status", f.status().code());
        } else if (frame instanceof SpdyWindowUpdateFrame f) {
            out.addProperty("type", "WINDOW_UPDATE");
            out.addProperty("id", f.streamId());
            out.addProperty("delta", f.deltaWindowSize());
        } else if (frame instanceof SpdyDataFrame f) {
            out.addProperty("type", "DATA");
            out.addProperty("id", f.streamId());
            out.addProperty("fin", f.isLast());
            out.addProperty("data", ByteBufUtil.hexDump(f.content()));
        } else {
            out.addProperty("error", String.valueOf(frame));
        }
        return out;
    }

    static void decode(int chunk) throws Exception {
        byte[] input = System.in.readAllBytes();
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        EmbeddedChannel channel = new EmbeddedChannel(codec());
        try {
            for (int at = 0; at < input.length; at += chunk) {
                int n = Math.min(chunk, input.length - at);
                channel.writeInbound(Unpooled.copiedBuffer(input, at, n));
                for (Object frame; (frame = channel.readInbound()) != null; ) {
                    out.println(describe(frame));
                }
                if (chunk >= input.length - at) {
                    break;
                }
            }
        } catch (Exception e) {
            JsonObject line = new JsonObject();
            line.addProperty("error", e.toString());
            out.println(line);
        }
        out.flush();
    }

    private static <F extends SpdyHeadersFrame> F filled(F frame, JsonObject asked) {
        for (String name : asked.getAsJsonObject("headers").keySet()) {
            String value = asked.getAsJsonObject("headers").get(name).getAsString();
            frame.headers().add(name, Arrays.asList(value.split("\0", -1)));
        }
        frame.setLast(asked.get("fin").getAsBoolean());
        return frame;
    }

    private static Object frame(JsonObject asked) throws Exception {
        int id = asked.has("id") ? asked.get("id").getAsInt() : 0;
        switch (asked.get("type").getAsString()) {
            case "SYN_STREAM":
                return filled(new DefaultSpdySynStreamFrame(id, asked.get("associated").getAsInt(),
                        asked.get("priority").getAsByte(), false), asked)
                        .setUnidirectional(asked.get("unidirectional").getAsBoolean());
            case "SYN_REPLY":
                return filled(new DefaultSpdySynReplyFrame(id, false), asked);
            case "HEADERS":
                return filled(new DefaultSpdyHeadersFrame(id, false), asked);
            case "RST_STREAM":
                return new DefaultSpdyRstStreamFrame(id, asked.get("status").getAsInt());
            case "SETTINGS": {
                SpdySettingsFrame frame = new DefaultSpdySettingsFrame();
                frame.setClearPreviouslyPersistedSettings(asked.get("clear").getAsBoolean());
                for (var e : asked.getAsJsonArray("entries")) {
                    int flags = e.getAsJsonArray().get(0).getAsInt();
                    frame.setValue(e.getAsJsonArray().get(1).getAsInt(), e.getAsJsonArray().get(2).getAsInt(),
                            (flags & 1) != 0, (flags & 2) != 0);
                }
                return frame;
            }
            case "PING":
                return new DefaultSpdyPingFrame(id);
            case "GOAWAY":
                return new DefaultSpdyGoAwayFrame(asked.get("last").getAsInt(), asked.get("status").getAsInt());
            case "WINDOW_UPDATE":
                return new DefaultSpdyWindowUpdateFrame(id, asked.get("delta").getAsInt());
            case "DATA": {
                ByteBuf data = Unpooled.wrappedBuffer(ByteBufUtil.decodeHexDump(asked.get("data").getAsString()));
                return new DefaultSpdyDataFrame(id, data).setLast(asked.get("fin").getAsBoolean());
            }
            default:
                throw new Exception("cannot say " + asked);
        }
    }

    static void encode() throws Exception {
        EmbeddedChannel channel = new EmbeddedChannel(codec());
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null; ) {
            channel.writeOutbound(frame(JsonParser.parseString(line).getAsJsonObject()));
            for (ByteBuf bytes; (bytes = channel.readOutbound()) != null; ) {
                bytes.readBytes(System.out, bytes.readableBytes());
            }
        }
        System.out.flush();
    }
}
