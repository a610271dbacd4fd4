/** The plugin of the button on the cell. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import {
  ICommandPalette,
  ISessionContextDialogs,
  IToolbarWidgetRegistry
} from '@jupyterlab/apputils';
import type { Cell } from '@jupyterlab/cells';
import { INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Client } from '../api/client';
import { IJobsModel } from '../tokens';
import { Asking } from './asking';
import { ToolbarBadge } from './badge';
import { addCommands, CellCommands } from './commands';
import { prepareBeforeRuns } from './scheduling';
import { DEFAULTS, settingsOf } from './settings';
import { NotebookWatcher } from './watcher';

/** Of the schema, whose toolbars, menus and shortcuts name the commands. */
const ID = 'cloudbutton:plugin';

export const cellPlugin: JupyterFrontEndPlugin<void> = {
  id: ID,
  description:
    'The button on the cell: its loops run in parallel, its text stays as it is.',
  autoStart: true,
  requires: [INotebookTracker],
  optional: [
    IJobsModel,
    ISettingRegistry,
    IToolbarWidgetRegistry,
    ICommandPalette,
    ISessionContextDialogs,
    ITranslator
  ],
  activate: (
    app: JupyterFrontEnd,
    tracker: INotebookTracker,
    jobs: IJobsModel | null,
    registry: ISettingRegistry | null,
    toolbars: IToolbarWidgetRegistry | null,
    palette: ICommandPalette | null,
    dialogs: ISessionContextDialogs | null,
    translators: ITranslator | null
  ) => {
    const translator = translators ?? nullTranslator;
    const trans = translator.load('cloudbutton');
    const client = jobs?.client ?? new Client(app.serviceManager.serverSettings);
    const watchers = new Map<NotebookPanel, NotebookWatcher>();
    let settings = DEFAULTS;

    const asking = new Asking(client, trans, {
      user: () => app.serviceManager.user.identity?.username ?? '',
      confirms: () => settings.confirmBeforeSpending
    });
    addCommands(app.commands, {
      tracker,
      watcherOf: panel => watchers.get(panel),
      client,
      settings: () => settings,
      translator,
      dialogs
    });
    const update = () => {
      for (const command of Object.values(CellCommands)) {
        app.commands.notifyCommandChanged(command);
      }
    };

    const watch = (panel: NotebookPanel) => {
      const watcher = new NotebookWatcher(panel, {
        jobs,
        trans,
        showsBadge: () => settings.badge,
        refreshRate: () => settings.refreshRate
      });
      watchers.set(panel, watcher);
      watcher.changed.connect((_, ids) => {
        if (
          panel === tracker.currentWidget &&
          ids.has(tracker.activeCell?.model?.id ?? '')
        ) {
          update();
        }
      });
      panel.disposed.connect(() => {
        watchers.delete(panel);
        watcher.dispose();
      });
    };
    tracker.forEach(watch);
    tracker.widgetAdded.connect((_, panel) => watch(panel));
    tracker.activeCellChanged.connect(update);
    tracker.currentChanged.connect(update);

    prepareBeforeRuns(tracker, asking, trans);

    toolbars?.addFactory<Cell>('Cell', 'cloudbutton-badge', cell => {
      const panel = tracker.find(each => each.content.widgets.includes(cell));
      return new ToolbarBadge(cell, panel && watchers.get(panel));
    });
    for (const command of Object.values(CellCommands)) {
      palette?.addItem({ command, category: trans.__('Cloud Button') });
    }

    void registry?.load(ID).then(
      loaded => {
        const read = () => {
          settings = settingsOf(loaded);
          for (const watcher of watchers.values()) {
            watcher.refresh();
          }
        };
        loaded.changed.connect(read);
        read();
      },
      (reason: Error) => console.error('Cloud Button has no settings.', reason)
    );
  }
};
