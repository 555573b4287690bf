/** The icon of Nuna: tasks on their threads. */
import { LabIcon } from '@jupyterlab/ui-components';

const svg = (body: string) =>
  `<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 24 24">${body}</svg>`;

export const nunaIcon = new LabIcon({
  name: 'nuna:clusters',
  svgstr: svg(
    '<g class="jp-icon3" fill="#616161"><rect x="3" y="4" width="12" height="4" rx="1"/>' +
      '<rect x="8" y="10" width="13" height="4" rx="1"/><rect x="5" y="16" width="9" height="4" rx="1"/></g>'
  )
});
