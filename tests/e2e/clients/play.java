// Plays scenarios with the code of docs/client-java.md beside it: a line of JSON in, the results of its steps out.

import com.example.risk.RiskChannel;
import com.example.risk.RiskClient;
import com.example.riskd.v1.AssessRequest;
import com.example.riskd.v1.AssessResponse;
import com.example.riskd.v1.Requirement;
import com.example.riskd.v1.RiskServiceGrpc;
import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.util.JsonFormat;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.EquivalentAddressGroup;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.NameResolver;
import io.grpc.NameResolverProvider;
import io.grpc.NameResolverRegistry;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Pattern;

final class Play {
    private static final Gson GSON = new GsonBuilder().serializeNulls().create();
    private static final Duration PATIENCE = Duration.ofSeconds(5);

    private final Channel channel;
    private final RiskClient client;

    private Play(Channel channel, RiskClient client) {
        this.channel = channel;
        this.client = client;
    }

    public static void main(String[] args) throws Exception {
        NameResolverRegistry.getDefaultRegistry().register(new Several());
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            System.out.println(GSON.toJson(results(GSON.fromJson(line, JsonObject.class))));
        }
    }

    private static List<Object> results(JsonObject given) throws Exception {
        String token = given.has("token") ? text(given, "token") : "";
        ManagedChannel channel = RiskChannel.connect(text(given, "target"), transport(given), token);
        RiskClient client = new RiskClient(channel);
        client.warmUp(PATIENCE);
        if (given.has("deadline")) {
            Duration limit = Duration.ofMillis((long) (given.get("deadline").getAsDouble() * 1000));
            client = new RiskClient(channel, limit, limit);
        }
        Play play = new Play(channel, client);
        List<Object> came = new ArrayList<>();
        for (JsonElement step : given.getAsJsonArray("steps")) {
            came.add(play.result(step.getAsJsonObject()));
        }
        channel.shutdownNow();
        return came;
    }

    private static ChannelCredentials transport(JsonObject given) throws IOException {
        if (!given.has("authorities")) {
            return InsecureChannelCredentials.create();
        }
        var credentials = TlsChannelCredentials.newBuilder().trustManager(stream(given, "authorities"));
        if (given.has("certificate")) {
            credentials.keyManager(stream(given, "certificate"), stream(given, "key"));
        }
        return credentials.build();
    }

    private static InputStream stream(JsonObject given, String name) {
        return new ByteArrayInputStream(text(given, name).getBytes(StandardCharsets.UTF_8));
    }

    private Object result(JsonObject step) throws Exception {
        switch (text(step, "do")) {
            case "example": {
                AssessResponse answer = client.assess(attempt(step).build());
                boolean established = client.signIn(answer, required -> methods(step));
                return List.of(established, answer.getAssessmentId());
            }
            case "sign_in":
                return signIn(step);
            case "mistake":
                return mistake();
            case "tell":
                return client.established(text(step, "assessment"));
            case "step_up":
                return RiskClient.stepUp(merged(step, Requirement.newBuilder()).build());
            case "pause":
                Thread.sleep((long) (step.get("seconds").getAsDouble() * 1000));
                return null;
            default:
                throw new IllegalArgumentException(step.toString());
        }
    }

    private Map<String, Object> signIn(JsonObject step) throws InvalidProtocolBufferException {
        AssessRequest request = attempt(step).mergeFrom(merged(step, AssessRequest.newBuilder()).build()).build();
        List<Requirement> challenges = new ArrayList<>();
        long begun = System.nanoTime();
        AssessResponse answer = client.assess(request);
        double seconds = (System.nanoTime() - begun) / 1e9;
        boolean established = client.signIn(answer, required -> {
            challenges.add(required);
            return methods(step);
        });
        return Map.of(
                "tier", answer.getRequirement().getTier().name(),
                "acr_values", List.copyOf(answer.getRequirement().getAcrValuesList()),
                "assessment", answer.getAssessmentId(),
                "challenged", challenges.size(),
                "established", established,
                "seconds", seconds);
    }

    private Object mistake() {
        try {
            return RiskServiceGrpc.newBlockingStub(channel).assess(AssessRequest.getDefaultInstance()).toString();
        } catch (StatusRuntimeException error) {
            RiskClient.Refusal refusal = RiskClient.explain(error);
            return List.of(refusal.reason(), refusal.fields());
        }
    }

    private static AssessRequest.Builder attempt(JsonObject step) {
        return RiskClient.attempt(text(step, "attempt"), text(step, "subject"), text(step, "address"));
    }

    private static Optional<List<String>> methods(JsonObject step) {
        JsonElement amr = step.get("amr");
        return amr.isJsonNull() ? Optional.empty() : Optional.of(Arrays.asList(GSON.fromJson(amr, String[].class)));
    }

    private static <B extends Message.Builder> B merged(JsonObject step, B builder)
            throws InvalidProtocolBufferException {
        // a timestamp is text to JsonFormat, and seconds in the steps
        String more = Pattern.compile("\\{\"seconds\":(\\d+)\\}").matcher(step.get("more").toString())
                .replaceAll(found -> "\"" + Instant.ofEpochSecond(Long.parseLong(found.group(1))) + "\"");
        JsonFormat.parser().merge(more, builder);
        return builder;
    }

    private static String text(JsonObject step, String name) {
        return step.get(name).getAsString();
    }

    /** A scheme for the addresses of a target, as the gRPC of other languages has: grpc-java has none. */
    private static final class Several extends NameResolverProvider {
        @Override
        protected boolean isAvailable() {
            return true;
        }

        @Override
        protected int priority() {
            return 0;
        }

        @Override
        public String getDefaultScheme() {
            return "ipv4";
        }

        @Override
        public NameResolver newNameResolver(URI target, NameResolver.Args args) {
            if (!"ipv4".equals(target.getScheme())) {
                return null;
            }
            List<EquivalentAddressGroup> addresses = new ArrayList<>();
            for (String each : target.getSchemeSpecificPart().split(",")) {
                String[] parts = each.split(":");
                addresses.add(new EquivalentAddressGroup(new InetSocketAddress(parts[0], Integer.parseInt(parts[1]))));
            }
            return new NameResolver() {
                @Override
                public String getServiceAuthority() {
                    return "localhost";
                }

                @Override
                public void start(Listener2 listener) {
                    listener.onResult(ResolutionResult.newBuilder().setAddresses(addresses).build());
                }

                @Override
                public void shutdown() {}
            };
        }
    }
}
