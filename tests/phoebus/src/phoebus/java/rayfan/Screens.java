package rayfan;

import java.io.File;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import javafx.application.Platform;
import javafx.embed.swing.SwingFXUtils;
import javafx.geometry.Rectangle2D;
import javafx.scene.Node;
import javafx.scene.Parent;
import javafx.scene.SnapshotParameters;
import javafx.scene.control.ButtonBase;
import javafx.scene.image.WritableImage;
import javax.imageio.ImageIO;
import org.csstudio.display.builder.model.DisplayModel;
import org.csstudio.display.builder.model.Widget;
import org.csstudio.display.builder.model.WidgetProperty;
import org.csstudio.display.builder.model.widgets.EmbeddedDisplayWidget;
import org.csstudio.display.builder.model.widgets.LabelWidget;
import org.csstudio.display.builder.representation.javafx.JFXRepresentation;
import org.csstudio.display.builder.representation.javafx.JFXUtil;
import org.csstudio.display.builder.runtime.WidgetRuntime;
import org.csstudio.display.builder.runtime.app.DisplayRuntimeInstance;
import org.csstudio.display.builder.runtime.pv.RuntimePV;
import org.phoebus.framework.spi.AppInstance;
import org.phoebus.framework.workbench.ApplicationService;
import org.phoebus.product.Launcher;
import org.phoebus.pv.PV;
import org.phoebus.ui.application.PhoebusApplication;
import org.phoebus.ui.docking.DockItem;
import org.phoebus.ui.docking.DockPane;

/**
 * Opens displays in Phoebus, one after the other: java rayfan.Screens LIST SETTINGS
 *
 * <p>A line of LIST is: URI of the display with its macros, file for its picture, seconds to let it live. For each it
 * prints the number of its PVs and the names of those that are not connected, then writes the picture. Where a line
 * names a fourth field, the button with that text is pressed, and the title of the tab that opens is printed.
 */
public class Screens {
    private static final long CONNECT_SECONDS = 240;
    private static final long STABLE_MILLISECONDS = 1500;
    private static final long LOOK_MILLISECONDS = 100;
    private static final long START_SECONDS = 300;

    public static void main(String[] arguments) throws Exception {
        Thread driver = new Thread(() -> drive(Path.of(arguments[0])), "screens");
        driver.setDaemon(true);
        driver.start();
        Launcher.main(new String[] {"-clean", "-nosplash", "-settings", arguments[1]});
    }

    private static void drive(Path list) {
        int code = 1;
        try {
            waitForWindow();
            for (String line : Files.readAllLines(list, StandardCharsets.UTF_8)) {
                String[] fields = line.split("\t");
                show(URI.create(fields[0]), new File(fields[1]), Double.parseDouble(fields[2]), fields.length > 3 ? fields[3] : null);
            }
            System.out.println("DONE");
            code = 0;
        } catch (Throwable error) {
            error.printStackTrace();
        }
        System.out.flush();
        Runtime.getRuntime().halt(code);  // no question whether to save anything
    }

    private static void waitForWindow() throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(START_SECONDS);
        while (PhoebusApplication.INSTANCE == null || !onScreen()) {
            if (System.nanoTime() > end) throw new IllegalStateException("no window of Phoebus within " + START_SECONDS + " s");
            Thread.sleep(200);
        }
    }

    private static boolean onScreen() throws Exception {
        return inToolkit(() -> {
            DockPane pane = DockPane.getActiveDockPane();
            return pane != null && pane.getScene() != null && pane.getScene().getWindow() != null
                    && pane.getScene().getWindow().isShowing();
        });
    }

    private static void show(URI display, File picture, double seconds, String press) throws Exception {
        AppInstance instance = inToolkit(() -> ApplicationService.createInstance("display_runtime", display));
        DisplayRuntimeInstance runtime = (DisplayRuntimeInstance) instance;
        runtime.getRepresentation_init().get(CONNECT_SECONDS, TimeUnit.SECONDS);
        Parent parent = modelParent(runtime);
        DisplayModel model = (DisplayModel) parent.getProperties().get(JFXRepresentation.ACTIVE_MODEL);
        settled(model);
        Thread.sleep(Math.round(1000 * seconds));
        Set<String> missing = settled(model);  // of those too that a script brought meanwhile
        System.out.println("SCREEN\t" + picture.getName() + "\t" + pvs(model).size() + "\t" + String.join(" ", missing));
        int width = model.propWidth().getValue();
        int height = model.propHeight().getValue();
        WritableImage image = inToolkit(() -> {
            SnapshotParameters parameters = new SnapshotParameters();
            parameters.setFill(JFXUtil.convert(model.propBackgroundColor().getValue()));
            parameters.setViewport(new Rectangle2D(0, 0, width, height));
            return parent.snapshot(parameters, new WritableImage(width, height));
        });
        ImageIO.write(SwingFXUtils.fromFXImage(image, null), "png", picture);
        if (press != null) press(parent, press);
        closeAll();
    }

    private static void closeAll() throws Exception {
        List<DockItem> items = inToolkit(() -> new ArrayList<>(DockPane.getActiveDockPane().getDockItems()));
        for (DockItem item : items) {
            item.prepareToClose();  // may ask, so not in the toolkit's thread
            inToolkit(() -> {
                item.close();
                return null;
            });
        }
    }

    private static void press(Parent parent, String text) throws Exception {
        boolean found = inToolkit(() -> {
            for (Node node : parent.lookupAll(".button"))
                if (node instanceof ButtonBase button && text.equals(button.getText())) {
                    button.fire();
                    return true;
                }
            return false;
        });
        if (!found) throw new IllegalStateException("no button " + text);
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(CONNECT_SECONDS);
        while (inToolkit(() -> DockPane.getActiveDockPane().getDockItems().size()) < 2) {
            if (System.nanoTime() > end) throw new IllegalStateException("the button " + text + " opened nothing");
            Thread.sleep(100);
        }
        Thread.sleep(3000);  // the tab gets its title when its display is there
        String title = inToolkit(() -> {
            List<DockItem> items = DockPane.getActiveDockPane().getDockItems();
            return items.get(items.size() - 1).getLabel();
        });
        System.out.println("OPENED\t" + text + "\t" + title);
    }

    private static Parent modelParent(DisplayRuntimeInstance runtime) throws Exception {
        return inToolkit(() -> {
            Node content = runtime.getDockItem().getContent();
            Parent found = find(content);
            if (found == null) throw new IllegalStateException("no display in " + runtime.getDockItem());
            return found;
        });
    }

    private static Parent find(Node node) {
        if (!(node instanceof Parent parent)) return null;
        if (parent.getProperties().containsKey(JFXRepresentation.ACTIVE_MODEL)) return parent;
        for (Node child : parent.getChildrenUnmodifiable()) {
            Parent found = find(child);
            if (found != null) return found;
        }
        if (node instanceof javafx.scene.control.ScrollPane pane) return find(pane.getContent());
        return null;
    }

    /** Waits until all PVs are connected and no more come, and returns those that are not. */
    private static Set<String> settled(DisplayModel model) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(CONNECT_SECONDS);
        int before = -1;
        long since = System.nanoTime();
        while (System.nanoTime() < end) {
            int count = pvs(model).size();
            if (count != before || !disconnected(model).isEmpty()) since = System.nanoTime();
            if (System.nanoTime() - since >= TimeUnit.MILLISECONDS.toNanos(STABLE_MILLISECONDS)) break;
            before = count;
            Thread.sleep(LOOK_MILLISECONDS);
        }
        return disconnected(model);
    }

    private static Set<String> disconnected(DisplayModel model) {
        Set<String> names = new TreeSet<>();
        unloaded(model, names);
        for (RuntimePV pv : pvs(model)) if (pv.read() == null || PV.isDisconnected(pv.read())) names.add(pv.getName());
        return names;
    }

    /** Adds the places for embedded displays in which there is a sentence that it could not be loaded. */
    private static void unloaded(Widget widget, Set<String> names) {
        if (widget instanceof LabelWidget label && label.propText().getValue().startsWith("Failed to load"))
            names.add(label.propText().getValue().replaceAll("\\s+", "_"));
        for (Widget one : inner(widget)) unloaded(one, names);
    }

    private static List<RuntimePV> pvs(DisplayModel model) {
        List<RuntimePV> found = new ArrayList<>();
        add(model, found);
        return found;
    }

    private static void add(Widget widget, List<RuntimePV> found) {
        WidgetRuntime<Widget> runtime = WidgetRuntime.ofWidget(widget);
        if (runtime != null) found.addAll(runtime.getPVs());
        for (Widget one : inner(widget)) add(one, found);
    }

    private static List<Widget> inner(Widget widget) {
        List<Widget> inner = new ArrayList<>();
        if (widget instanceof DisplayModel model) inner.addAll(model.runtimeChildren().getValue());
        if (widget instanceof EmbeddedDisplayWidget embedded) {
            WidgetProperty<DisplayModel> model = embedded.runtimePropEmbeddedModel();
            if (model.getValue() != null) inner.add(model.getValue());
        }
        return inner;
    }

    private static <T> T inToolkit(Callable<T> callable) throws Exception {
        FutureTask<T> task = new FutureTask<>(callable);
        Platform.runLater(task);
        return task.get(CONNECT_SECONDS, TimeUnit.SECONDS);
    }
}
