package rayfan;

import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.epics.pva.client.PVAChannel;
import org.epics.pva.client.PVAClient;
import org.epics.pva.data.PVAByteArray;
import org.epics.pva.data.PVAInt;
import org.epics.pva.data.PVAStructure;
import org.epics.pva.data.PVAStructureArray;
import org.epics.pva.data.PVAUnion;

/**
 * Puts a record and reads images with Phoebus's pvAccess client alone: java rayfan.ReadAndPut PREFIX COLUMNS ROWS
 *
 * <p>The detector must make images of the pattern `ramp`, of bytes: each pixel is column + row + n, wrapped around,
 * where n is that of the first pixel. The record put to is `cam1:AcquireTime`. Exit code 1 says that something differs.
 */
public class ReadAndPut {
    private static final long SECONDS = 20;
    private static final double EXPOSURE = 0.0025;

    public static void main(String[] arguments) throws Exception {
        String prefix = arguments[0];
        int columns = Integer.parseInt(arguments[1]);
        int rows = Integer.parseInt(arguments[2]);
        PVAClient client = new PVAClient();
        try {
            int first = checkImage(read(client, prefix + "Pva1:Image", ""), columns, rows);
            int next = first;
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(SECONDS);
            while (next == first && System.nanoTime() < end) {
                next = checkImage(read(client, prefix + "Pva1:Image", ""), columns, rows);
            }
            check("uniqueId of a later image", "another than " + first, next == first ? "the same" : "another than " + first);
            put(client, prefix + "cam1:AcquireTime", EXPOSURE);
            PVAStructure shown = read(client, prefix + "cam1:AcquireTime_RBV", "value");
            check("cam1:AcquireTime_RBV", EXPOSURE, ((org.epics.pva.data.PVADouble) shown.get("value")).get());
            System.out.println("images " + first + " and " + next + ": " + columns + " x " + rows + ", each pixel as it must be; "
                    + "cam1:AcquireTime put and shown");
        } finally {
            client.close();
        }
        System.exit(0);  // the client's threads are no daemons
    }

    private static int checkImage(PVAStructure image, int columns, int rows) throws Exception {
        PVAStructureArray dimensions = image.get("dimension");
        check("dimensions", 2, dimensions.get().length);
        check("columns", columns, ((PVAInt) dimensions.get()[0].get("size")).get());
        check("rows", rows, ((PVAInt) dimensions.get()[1].get("size")).get());
        PVAUnion value = image.get("value");
        byte[] pixels = ((PVAByteArray) value.get()).get();
        check("pixels", columns * rows, pixels.length);
        for (int row = 0; row < rows; row++) {
            for (int column = 0; column < columns; column++) {
                int expected = pixels[0] + column + row & 0xff;
                check("pixel in column " + column + ", row " + row, expected, pixels[row * columns + column] & 0xff);
            }
        }
        return ((PVAInt) image.get("uniqueId")).get();
    }

    private static PVAStructure read(PVAClient client, String name, String request) throws Exception {
        PVAChannel channel = connected(client, name);
        try {
            return channel.read(request).get(SECONDS, TimeUnit.SECONDS);
        } finally {
            channel.close();
        }
    }

    private static void put(PVAClient client, String name, double value) throws Exception {
        PVAChannel channel = connected(client, name);
        try {
            Future<Void> done = channel.write("field(value)", value);
            done.get(SECONDS, TimeUnit.SECONDS);
        } finally {
            channel.close();
        }
    }

    private static PVAChannel connected(PVAClient client, String name) throws Exception {
        PVAChannel channel = client.getChannel(name);
        channel.connect().get(SECONDS, TimeUnit.SECONDS);
        return channel;
    }

    private static void check(String what, Object expected, Object found) {
        if (!expected.equals(found)) {
            System.err.println(what + ": expected " + expected + ", found " + found);
            System.exit(1);
        }
    }
}
