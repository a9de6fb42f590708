import io.netty.bootstrap.Bootstrap;
import io.netty.buffer.Unpooled;
import io.netty.channel.*;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.nio.NioSocketChannel;
import io.netty.handler.codec.spdy.*;
import io.netty.util.ReferenceCountUtil;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** The opening end: one step after the other, in the main thread. */
final class Client extends ChannelInboundHandlerAdapter {
    private static final class Stream {
        final int id;
        final MessageDigest digest = Session.sha256();
        final StringBuilder text = new StringBuilder();
        final CompletableFuture<Void> replied = new CompletableFuture<>();
        final CompletableFuture<String> more = new CompletableFuture<>();
        /** {@code fin}, or the status of a reset. */
        final CompletableFuture<String> over = new CompletableFuture<>();

        Stream(int id) {
            this.id = id;
        }
    }

    private static final class Failure extends Exception {
        Failure(String what) {
            super(what);
        }
    }

    private final Map<Integer, Stream> streams = new ConcurrentHashMap<>();
    private final LinkedBlockingQueue<Integer> pongs = new LinkedBlockingQueue<>();
    private Channel channel;
    private int nextId = 1;
    private int nextPing = 1;

    @Override
    public void channelRead(ChannelHandlerContext ctx, Object frame) {
        if (frame instanceof SpdyPingFrame f) {
            pongs.add(f.id());
        } else if (frame instanceof SpdyStreamFrame f && streams.containsKey(f.streamId())) {
            Stream stream = streams.get(f.streamId());
            if (frame instanceof SpdySynReplyFrame) {
                stream.replied.complete(null);
            } else if (frame instanceof SpdyHeadersFrame h) {
                stream.more.complete(h.headers().getAsString("x-more"));
            } else if (frame instanceof SpdyDataFrame d) {
                Session.update(stream.digest, d.content());
                if (stream.text.length() < 64) {
                    stream.text.append(d.content().toString(StandardCharsets.ISO_8859_1));
                }
            } else if (frame instanceof SpdyRstStreamFrame r) {
                stream.over.complete("reset " + r.status().code());
            }
            if (f.isLast()) {
                stream.over.complete("fin");
            }
        }
        ReferenceCountUtil.release(frame);
    }

    @Override
    public void exceptionCaught(ChannelHandlerContext ctx, Throwable e) {
        Main.fail(e);
    }

    private static void same(Object got, Object want) throws Failure {
        if (!got.equals(want)) {
            throw new Failure(got + " instead of " + want);
        }
    }

    private static <T> T await(CompletableFuture<T> future) throws Exception {
        return future.get(60, TimeUnit.SECONDS);
    }

    private Stream open(String test, long length) {
        Stream stream = new Stream(nextId);
        nextId += 2;
        streams.put(stream.id, stream);
        SpdySynStreamFrame syn = new DefaultSpdySynStreamFrame(stream.id, 0, (byte) 0);
        syn.headers().add(":method", "POST").add(":path", "/").add(":version", "HTTP/1.1")
                .add(":scheme", "http").add(":host", "localhost")
                .add("x-test", test).add("x-length", String.valueOf(length));
        channel.writeAndFlush(syn);
        return stream;
    }

    private void end(Stream stream) {
        Session.data(channel, stream.id, Unpooled.EMPTY_BUFFER, true);
    }

    private void ping() throws Exception {
        int id = nextPing;
        nextPing += 2;
        channel.writeAndFlush(new DefaultSpdyPingFrame(id));
        same(pongs.poll(60, TimeUnit.SECONDS), id);
    }

    private void echoes(int count, long length) throws Exception {
        List<Stream> all = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            Stream stream = open("echo", 0);
            Session.pattern(channel, stream.id, 0, length);
            all.add(stream);
        }
        for (Stream stream : all) {
            same(await(stream.over), "fin");
            same(Session.hex(stream.digest), Session.patternSum(length));
            await(stream.replied);
        }
    }

    private String read(String test, String over) throws Exception {
        Stream stream = open(test, 0);
        if (!over.equals("fin")) {
            same(await(stream.over), over);
            return stream.text.toString();
        }
        end(stream);
        same(await(stream.over), over);
        return stream.text.toString();
    }

    private interface Step {
        void run() throws Exception;
    }

    private static void step(String name, Step step) throws Exception {
        try {
            step.run();
        } catch (Exception e) {
            throw new Exception(name, e);
        }
        System.out.println("ok " + name);
    }

    static void run(String[] args) throws Exception {
        Client client = new Client();
        client.channel = new Bootstrap().group(new NioEventLoopGroup(1)).channel(NioSocketChannel.class)
                .handler(new ChannelInitializer<>() {
                    @Override
                    protected void initChannel(Channel channel) {
                        Session.pipeline(channel, false, client);
                    }
                }).connect("127.0.0.1", Integer.parseInt(args[1])).sync().channel();
        client.all(args.length > 2 ? Long.parseLong(args[2]) : 8 << 20, args.length > 3);
    }

    private void all(long length, boolean headers) throws Exception {
        step("ping", this::ping);
        step("echo", () -> echoes(1, 5));
        step("empty", () -> echoes(1, 0));
        step("source", () -> {
            Stream stream = open("source", length);
            end(stream);
            same(await(stream.over), "fin");
            same(Session.hex(stream.digest), Session.patternSum(length));
        });
        step("sink", () -> {
            Stream stream = open("sink", 0);
            Session.pattern(channel, stream.id, 0, length);
            same(await(stream.over), "fin");
            same(stream.text.toString(), Session.patternSum(length));
        });
        step("reset", () -> same(read("reset", "reset 5"), "0123456789"));
        step("refuse", () -> same(read("refuse", "reset 3"), ""));
        step("first", () -> {
            Stream stream = open("first", 0);
            same(await(stream.over), "fin");
            same(stream.text.toString(), "first");
            Session.pattern(channel, stream.id, 0, 100_000);
            same(read("recall", "fin"), Session.patternSum(100_000));
        });
        step("fifty", () -> echoes(50, 64 << 10));
        step("ping", this::ping);
        if (headers) {
            step("headers", () -> {
                Stream stream = open("headers", 0);
                same(await(stream.more), "yes");
                end(stream);
                same(await(stream.over), "fin");
                same(stream.text.toString(), "after");
            });
            step("headers-echo", () -> {
                Stream stream = open("headers-echo", 0);
                await(stream.replied);
                SpdyHeadersFrame more = new DefaultSpdyHeadersFrame(stream.id);
                more.headers().add("x-more", "back");
                channel.writeAndFlush(more);
                same(await(stream.more), "back");
                end(stream);
                same(await(stream.over), "fin");
            });
        }
        // Says GOAWAY first.
        channel.close().sync();
    }
}
