import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.*;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.handler.codec.spdy.*;
import io.netty.util.ReferenceCountUtil;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import java.util.concurrent.CountDownLatch;

/** The answering end, and what both ends share. */
final class Session {
    /** Byte i of what every source sends is i % 251. */
    static final int PIECE = 16 << 10;
    private static final byte[] PATTERN = new byte[PIECE + 251];

    static {
        for (int i = 0; i < PATTERN.length; i++) {
            PATTERN[i] = (byte) (i % 251);
        }
    }

    static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    static String hex(MessageDigest digest) {
        return HexFormat.of().formatHex(digest.digest());
    }

    static String patternSum(long length) {
        MessageDigest digest = sha256();
        for (long at = 0; at < length; at += PIECE) {
            digest.update(PATTERN, (int) (at % 251), (int) Math.min(PIECE, length - at));
        }
        return hex(digest);
    }

    static ByteBuf text(String text) {
        return Unpooled.copiedBuffer(text, StandardCharsets.US_ASCII);
    }

    static void update(MessageDigest digest, ByteBuf data) {
        digest.update(data.nioBuffer());
    }

    static ChannelFuture data(Channel channel, int id, ByteBuf data, boolean last) {
        return channel.writeAndFlush(new DefaultSpdyDataFrame(id, data).setLast(last));
    }

    /** Writes so much, the next piece when the one before has left. */
    static void pattern(Channel channel, int id, long at, long length) {
        int n = (int) Math.min(PIECE, length - at);
        ByteBuf piece = Unpooled.wrappedBuffer(PATTERN, (int) (at % 251), n);
        boolean last = at + n == length;
        data(channel, id, piece, last).addListener(written -> {
            if (written.isSuccess() && !last) {
                pattern(channel, id, at + n, length);
            }
        });
    }

    static void pipeline(Channel channel, boolean server, ChannelHandler ours) {
        channel.pipeline().addLast(Frames.codec(), new SpdySessionHandler(SpdyVersion.SPDY_3_1, server), ours);
    }

    static void serve() throws Exception {
        NioEventLoopGroup group = new NioEventLoopGroup(1);
        CountDownLatch ended = new CountDownLatch(1);
        Channel listener = new ServerBootstrap().group(group).channel(NioServerSocketChannel.class)
                .childHandler(new ChannelInitializer<>() {
                    @Override
                    protected void initChannel(Channel channel) {
                        pipeline(channel, true, new Answers(ended));
                    }
                }).bind("127.0.0.1", 0).sync().channel();
        System.out.println("port " + ((InetSocketAddress) listener.localAddress()).getPort());
        ended.await();
        System.out.println("end");
    }

    private static final class Answers extends ChannelInboundHandlerAdapter {
        private final CountDownLatch ended;
        private final Map<Integer, String> tests = new HashMap<>();
        private final Map<Integer, MessageDigest> sums = new HashMap<>();
        /** What the stream {@code first} got, for {@code recall}, which may come before its end. */
        private String recalled;
        private int recalls;

        Answers(CountDownLatch ended) {
            this.ended = ended;
        }

        @Override
        public void channelInactive(ChannelHandlerContext ctx) {
            ended.countDown();
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext ctx, Throwable e) {
            System.err.println("spdy-netty: " + e);
            ctx.close();
        }

        @Override
        public void channelRead(ChannelHandlerContext ctx, Object frame) {
            Channel channel = ctx.channel();
            if (frame instanceof SpdySynStreamFrame f) {
                open(channel, f);
                if (f.isLast()) {
                    end(channel, f.streamId());
                }
            } else if (frame instanceof SpdyDataFrame f) {
                int id = f.streamId();
                if (tests.getOrDefault(id, "").equals("echo")) {
                    if (f.content().isReadable()) {
                        data(channel, id, f.content().retain(), false);
                    }
                } else if (sums.containsKey(id)) {
                    update(sums.get(id), f.content());
                }
                if (f.isLast()) {
                    end(channel, id);
                }
            } else if (frame instanceof SpdyHeadersFrame f && "headers-echo".equals(tests.get(f.streamId()))) {
                SpdyHeadersFrame back = new DefaultSpdyHeadersFrame(f.streamId());
                back.headers().add("x-more", f.headers().getAsString("x-more"));
                channel.write(back);
                data(channel, f.streamId(), Unpooled.EMPTY_BUFFER, true);
            }
            ReferenceCountUtil.release(frame);
        }

        private void open(Channel channel, SpdySynStreamFrame syn) {
            int id = syn.streamId();
            String test = String.valueOf(syn.headers().getAsString("x-test"));
            if (test.equals("refuse")) {
                channel.writeAndFlush(new DefaultSpdyRstStreamFrame(id, SpdyStreamStatus.REFUSED_STREAM));
                return;
            }
            SpdySynReplyFrame reply = new DefaultSpdySynReplyFrame(id);
            reply.headers().add(":status", "200").add(":version", "HTTP/1.1");
            channel.writeAndFlush(reply);
            tests.put(id, test);
            sums.put(id, sha256());
            switch (test) {
                case "source" -> pattern(channel, id, 0, Long.parseLong(syn.headers().getAsString("x-length")));
                case "reset" -> {
                    data(channel, id, text("0123456789"), false);
                    channel.writeAndFlush(new DefaultSpdyRstStreamFrame(id, SpdyStreamStatus.CANCEL));
                }
                case "first" -> data(channel, id, text("first"), true);
                case "recall" -> {
                    recalls = id;
                    recall(channel);
                }
                case "headers" -> {
                    SpdyHeadersFrame more = new DefaultSpdyHeadersFrame(id);
                    more.headers().add("x-more", "yes");
                    channel.write(more);
                    data(channel, id, text("after"), true);
                }
                default -> { }
            }
        }

        private void end(Channel channel, int id) {
            String test = tests.getOrDefault(id, "");
            switch (test) {
                case "echo" -> data(channel, id, Unpooled.EMPTY_BUFFER, true);
                case "sink" -> data(channel, id, text(hex(sums.get(id))), true);
                case "first" -> {
                    recalled = hex(sums.get(id));
                    recall(channel);
                }
                default -> { }
            }
        }

        private void recall(Channel channel) {
            if (recalls != 0 && recalled != null) {
                data(channel, recalls, text(recalled), true);
            }
        }
    }
}
