/** Plugin, required tokens, commands and wiring; nothing else. */
import { ILayoutRestorer } from '@jupyterlab/application';
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, IThemeManager, MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Api } from './api';
import { ClusterDirectory } from './clusters';
import { nunaIcon } from './icons';
import { ClustersPanel } from './panels/clusters/panel';
import { StatusItem } from './panels/status/item';
import { ViewPanel } from './panels/view/panel';
import { WalltimeItem } from './panels/walltime/item';
import { INunaClusters } from './tokens';
import { VIEW_KINDS, VIEW_TITLES } from './views';
import type { ViewKind } from './views';
import type { Translate } from './views/text';

type AddOptions = Parameters<JupyterFrontEnd.IShell['add']>[2];

const OPEN = 'nuna:open-view';
const OPEN_ALL = 'nuna:open-all-views';
const SHOW_CLUSTERS = 'nuna:show-clusters';

const plugin: JupyterFrontEndPlugin<INunaClusters> = {
  id: '@nuna/labextension:clusters',
  description: 'Shows the Nuna clusters of this user and what they are doing.',
  autoStart: true,
  provides: INunaClusters,
  optional: [ITranslator, ICommandPalette, ILayoutRestorer, INotebookTracker, IThemeManager, IStatusBar],
  activate: (
    app: JupyterFrontEnd,
    translator: ITranslator | null,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null,
    notebooks: INotebookTracker | null,
    themes: IThemeManager | null,
    statusBar: IStatusBar | null
  ): INunaClusters => {
    const bundle = (translator ?? nullTranslator).load('nuna');
    const t: Translate = (text, ...values) => bundle.__(text, ...values);
    const api = new Api(app.serviceManager.serverSettings);
    const directory = new ClusterDirectory(api);
    const tracker = new WidgetTracker<MainAreaWidget<ViewPanel>>({ namespace: 'nuna-views' });

    const open = async (cluster: string, kind: ViewKind, options: AddOptions = {}) => {
      const id = `${ViewPanel.idOf(cluster, kind)}-main`;
      let widget = tracker.find(existing => existing.id === id);
      if (!widget) {
        const content = new ViewPanel(directory, cluster, kind, t(VIEW_TITLES[kind]), t);
        widget = new MainAreaWidget({ content });
        widget.id = id;
        widget.title.closable = true;
        widget.toolbar.hide();
        await tracker.add(widget);
      }
      if (!widget.isAttached) {
        app.shell.add(widget, 'main', { mode: 'split-right', ...options });
      }
      app.shell.activateById(widget.id);
      return widget.id;
    };
    /** Task stream to the right of what is in front, the others below it. */
    const openAll = async (cluster: string) => {
      const stream = await open(cluster, 'taskstream');
      const below = await open(cluster, 'progress', { mode: 'split-bottom', ref: stream });
      await open(cluster, 'workers', { mode: 'tab-after', ref: below });
      await open(cluster, 'memory', { mode: 'split-bottom', ref: below });
      app.shell.activateById(below);
    };

    const panel = new ClustersPanel(directory, t, {
      open: (cluster, kind) => void open(cluster, kind),
      layout: cluster => void openAll(cluster)
    });
    app.shell.add(panel, 'left', { rank: 700, type: 'Nuna' });

    let listed = false;
    void directory.ready.then(() => {
      listed = true;
      app.commands.notifyCommandChanged();
    });
    const named = (args: { cluster?: unknown }) => (args.cluster as string) || directory.current?.name || '';
    const clusterArgument = { cluster: { type: 'string', description: t('Name; the notebook’s own without it') } };
    app.commands.addCommand(OPEN, {
      label: args => t('%1 of the cluster', t(VIEW_TITLES[(args.view as ViewKind) ?? 'taskstream'])),
      icon: nunaIcon,
      // Greyed out in the palette only once it is known that there is no cluster.
      isEnabled: args => !listed || named(args) !== '',
      execute: async args => {
        // Asked for before the first list came, as by a script right after the start.
        await directory.ready;
        const cluster = named(args);
        if (!cluster) {
          throw new Error(t('No Nuna cluster is running. Start one with Cluster::local().start()?'));
        }
        return open(cluster, (args.view as ViewKind) ?? 'taskstream');
      },
      describedBy: {
        args: { type: 'object', properties: { ...clusterArgument, view: { enum: [...VIEW_KINDS] } } }
      }
    });
    app.commands.addCommand(OPEN_ALL, {
      label: t('All views of the cluster'),
      icon: nunaIcon,
      isEnabled: args => named(args) !== '',
      execute: args => openAll(named(args)),
      describedBy: { args: { type: 'object', properties: clusterArgument } }
    });
    app.commands.addCommand(SHOW_CLUSTERS, {
      label: t('Show Nuna Clusters'),
      icon: nunaIcon,
      execute: () => app.shell.activateById(panel.id),
      describedBy: { args: { type: 'object', properties: {} } }
    });
    const category = t('Nuna');
    VIEW_KINDS.forEach(view => palette?.addItem({ command: OPEN, category, args: { view } }));
    palette?.addItem({ command: OPEN_ALL, category });
    palette?.addItem({ command: SHOW_CLUSTERS, category });
    directory.changed.connect(() => app.commands.notifyCommandChanged());

    if (restorer) {
      restorer.add(panel, panel.id);
      void restorer.restore(tracker, {
        command: OPEN,
        args: ({ content }) => ({ cluster: content.cluster, view: content.kind }),
        name: ({ content }) => `${content.kind}-${content.cluster}`
      });
    }
    themes?.themeChanged.connect(() => {
      // Lab swaps the stylesheet after it says so.
      requestAnimationFrame(() => tracker.forEach(widget => widget.content.themeChanged()));
    });
    if (notebooks) {
      const follow = () => {
        directory.kernel = notebooks.currentWidget?.sessionContext.session?.kernel?.id ?? directory.kernel;
      };
      notebooks.currentChanged.connect((_, notebook) => {
        notebook?.sessionContext.kernelChanged.disconnect(follow);
        notebook?.sessionContext.kernelChanged.connect(follow);
        follow();
      });
    }
    statusBar?.registerStatusItem('@nuna/labextension:status', {
      item: new StatusItem(directory, t, () => void app.commands.execute(SHOW_CLUSTERS)),
      align: 'left',
      rank: 20
    });
    if (statusBar) {
      void api
        .walltimeEnd()
        .then(end => {
          if (end !== null) {
            const item = new WalltimeItem(end, t);
            statusBar.registerStatusItem('@nuna/labextension:walltime', { item, align: 'right', rank: 20 });
          }
        })
        .catch(error => console.warn('nuna: when this server ends is not known', error));
    }

    return { directory, open: async (cluster, view) => void (await open(cluster, view)) };
  }
};

export default plugin;
export { INunaClusters } from './tokens';
