/** The list of jobs, and what it is filtered by. */

import type { TranslationBundle } from '@jupyterlab/translation';
import { HTMLSelect, InputGroup, UseSignal } from '@jupyterlab/ui-components';
import type * as React from 'react';

import type { IJob, JobState } from '../../api/types';
import { cloudIcon } from '../../icons';
import { Action, Problem, stateName } from '../parts';
import type { JobListModel } from './model';
import { Row } from './row';

const STATES: readonly JobState[] = ['running', 'done', 'failed', 'cancelled', 'lost'];

interface IJobListProps {
  model: JobListModel;
  trans: TranslationBundle;
  onOpen: (job: IJob) => void;
  onOpenCell: (job: IJob) => void;
  onCancel: (job: IJob) => void;
}

export function JobList(props: IJobListProps): JSX.Element {
  return (
    <UseSignal signal={props.model.changed}>{() => <JobListBody {...props} />}</UseSignal>
  );
}

function JobListBody({ model, trans, ...on }: IJobListProps): JSX.Element {
  const { jobs, total } = model;
  const hidden = total - jobs.length;
  return (
    <>
      {(jobs.length > 0 || model.isFiltered) && <Filter model={model} trans={trans} />}
      <Problem text={model.problem} />
      {model.isLoaded && jobs.length === 0 && model.problem === null && (
        <Empty model={model} trans={trans} />
      )}
      <ul
        className="cb-JobList"
        aria-label={trans.__('Jobs')}
        onKeyDown={moveBetweenRows}
      >
        {jobs.map(job => (
          <Row key={job.id} job={job} trans={trans} {...on} />
        ))}
      </ul>
      {hidden > 0 && (
        <div className="cb-JobList-older">
          <Action
            label={trans.__('Older jobs (%1)', hidden)}
            onClick={() => void model.older()}
          />
        </div>
      )}
    </>
  );
}

function Filter({ model, trans }: Pick<IJobListProps, 'model' | 'trans'>): JSX.Element {
  const { notebook, state } = model.filter;
  return (
    <div className="cb-Filter" role="search">
      <InputGroup
        type="search"
        rightIcon="ui-components:search"
        placeholder={trans.__('Search names, code, errors')}
        aria-label={trans.__('Search jobs')}
        value={model.filter.search}
        onChange={event => model.setFilter({ search: event.target.value })}
      />
      <div className="cb-Filter-selects">
        <HTMLSelect
          aria-label={trans.__('State')}
          value={state ?? ''}
          onChange={event =>
            model.setFilter({ state: (event.target.value || null) as JobState | null })
          }
        >
          <option value="">{trans.__('All states')}</option>
          {STATES.map(each => (
            <option key={each} value={each}>
              {stateName(each, trans)}
            </option>
          ))}
        </HTMLSelect>
        <HTMLSelect
          aria-label={trans.__('Notebook')}
          value={notebook ?? ''}
          onChange={event => model.setFilter({ notebook: event.target.value || null })}
        >
          <option value="">{trans.__('All notebooks')}</option>
          {model.notebooks.map(each => (
            <option key={each} value={each}>
              {each}
            </option>
          ))}
        </HTMLSelect>
      </div>
    </div>
  );
}

function Empty({ model, trans }: Pick<IJobListProps, 'model' | 'trans'>): JSX.Element {
  if (model.isFiltered) {
    return (
      <div className="cb-Empty">
        <p>{trans.__('No job is like that.')}</p>
        <Action label={trans.__('Show all jobs')} onClick={() => model.clearFilter()} />
      </div>
    );
  }
  return (
    <div className="cb-Empty">
      <cloudIcon.react tag="span" className="cb-Empty-icon" />
      <h3>{trans.__('No jobs yet')}</h3>
      <p>
        {trans.__(
          'Press the cloud button in the toolbar of a cell that has a loop. Its iterations run in parallel, and the cell’s variables are the same afterwards.'
        )}
      </p>
      <p>{trans.__('The same as text, above a cell of any notebook:')}</p>
      <pre>{'%%cloud\nscores = [fit(x) for x in xs]'}</pre>
      <p>{trans.__('after this, once:')}</p>
      <pre>{'%load_ext cloudbutton_ext'}</pre>
    </div>
  );
}

/** Up and down go from name to name. */
function moveBetweenRows(event: React.KeyboardEvent<HTMLUListElement>): void {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step === undefined) {
    return;
  }
  const names = [...event.currentTarget.querySelectorAll<HTMLElement>('.cb-JobRow-name')];
  const row = (event.target as HTMLElement).closest('.cb-JobRow');
  const current = names.findIndex(name => row?.contains(name));
  const next = names[current + step];
  if (next !== undefined) {
    next.focus();
    event.preventDefault();
  }
}
