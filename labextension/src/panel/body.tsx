/** The panel's tabs, and what is behind the chosen one. */

import type { ITranslator, TranslationBundle } from '@jupyterlab/translation';
import { UseSignal } from '@jupyterlab/ui-components';
import type * as React from 'react';

import type { IActions } from './actions';
import { Announcements } from './announcements';
import { Backend } from './backend/body';
import { Job } from './job/body';
import { JobList } from './jobs/body';
import type { PanelModel, Tab } from './model';
import { Visible } from './parts';
import { Spend } from './spend/body';

export interface IPanelProps {
  model: PanelModel;
  actions: IActions;
  translator: ITranslator;
  trans: TranslationBundle;
}

export function Panel(props: IPanelProps): JSX.Element {
  return (
    <UseSignal signal={props.model.changed}>
      {() => (
        <Visible.Provider value={props.model.isVisible}>
          <Tabs {...props} />
          <div
            className="cb-Panel-body"
            role="tabpanel"
            id="cb-tabpanel"
            aria-labelledby={`cb-tab-${props.model.tab}`}
          >
            <Body {...props} />
          </div>
          <Announcements jobs={props.model.known} trans={props.trans} />
        </Visible.Provider>
      )}
    </UseSignal>
  );
}

function Tabs({ model, trans }: IPanelProps): JSX.Element {
  const tabs: readonly (readonly [Tab, string])[] = [
    ['jobs', trans.__('Jobs')],
    ['backend', trans.__('Backend')],
    ['spend', trans.__('Spend')]
  ];
  const move = (event: React.KeyboardEvent<HTMLDivElement>) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) {
      return;
    }
    const at = tabs.findIndex(([tab]) => tab === model.tab);
    const [next] = tabs[(at + step + tabs.length) % tabs.length] ?? ['jobs'];
    model.setTab(next);
    event.currentTarget.querySelector<HTMLElement>(`#cb-tab-${next}`)?.focus();
    event.preventDefault();
  };
  return (
    <div
      className="cb-Tabs"
      role="tablist"
      aria-label={trans.__('Cloud Button')}
      onKeyDown={move}
    >
      {tabs.map(([tab, label]) => (
        <button
          key={tab}
          id={`cb-tab-${tab}`}
          type="button"
          role="tab"
          aria-selected={tab === model.tab}
          aria-controls="cb-tabpanel"
          tabIndex={tab === model.tab ? 0 : -1}
          onClick={() => model.setTab(tab)}
        >
          {label}
        </button>
      ))}
    </div>
  );
}

function Body({ model, actions, translator, trans }: IPanelProps): JSX.Element {
  if (model.tab === 'backend') {
    return <Backend model={model.backend} trans={trans} translator={translator} />;
  }
  if (model.tab === 'spend') {
    return <Spend model={model.spend} trans={trans} />;
  }
  if (model.job !== null) {
    return (
      <Job
        key={model.job.id}
        model={model.job}
        actions={actions}
        trans={trans}
        onClose={() => model.closeJob()}
      />
    );
  }
  return (
    <JobList
      model={model.jobs}
      trans={trans}
      onOpen={job => model.openJob(job.id)}
      onOpenCell={job => void actions.openCell(job)}
      onCancel={job => void model.jobs.cancel(job.id)}
    />
  );
}
