/* Live charts: zoom by dragging, read values by pointer or arrow keys, follow light and dark, save as SVG or PNG.
   Without this script the page shows the same charts as still pictures. */
"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const live = [];
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const number = (v) => v == null ? "–" : v === 0 ? "0" : String(Number(v.toPrecision(3)));
  const xLabel = (chart, x) => chart.kind === "tail" ? `${Number((100 - 100 * 10 ** -x).toPrecision(8))} %` : `${Number(x.toFixed(1))}${chart.kind === "load" ? "/s" : " s"}`;

  function backdrop(chart) {
    return (u) => {
      const { ctx, bbox } = u;
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      for (const band of chart.bands) {
        const from = u.valToPos(band.start, "x", true), to = u.valToPos(band.end, "x", true);
        ctx.fillStyle = css(`--band-${band.role}`);
        ctx.fillRect(from, bbox.top, to - from, bbox.height);
      }
      ctx.restore();
    };
  }

  function annotations(chart) {
    return (u) => {
      const { ctx, bbox } = u, r = devicePixelRatio;
      const inside = (x) => x >= bbox.left - 1 && x <= bbox.left + bbox.width + 1;
      ctx.save();
      ctx.textBaseline = "alphabetic";
      ctx.textAlign = "left";
      ctx.font = `${11 * r}px system-ui, sans-serif`;
      ctx.fillStyle = css("--soft");
      for (const band of chart.bands) {
        const from = Math.max(u.valToPos(band.start, "x", true), bbox.left);
        const to = Math.min(u.valToPos(band.end, "x", true), bbox.left + bbox.width);
        if (to - from > ctx.measureText(band.label).width + 8 * r) ctx.fillText(band.label, from + 4 * r, bbox.top - 6 * r);
      }
      ctx.font = `600 ${11 * r}px system-ui, sans-serif`;
      const places = chart.moments.map((moment) => u.valToPos(moment.x, "x", true));
      chart.moments.forEach((moment, i) => {
        const x = places[i];
        if (!inside(x)) return;
        ctx.strokeStyle = ctx.fillStyle = css("--moment");
        ctx.lineWidth = 1.5 * r;
        ctx.setLineDash([4 * r, 3 * r]);
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
        const room = Math.min(places[i + 1] ?? Infinity, bbox.left + bbox.width) - x - 8 * r;
        const label = [moment.label, moment.label.split(" ").pop()].find((text) => ctx.measureText(text).width <= room);
        if (label) ctx.fillText(label, x + 4 * r, bbox.top + 12 * r);
      });
      ctx.restore();
    };
  }

  function readout(chart) {
    const place = document.getElementById(`readout-${chart.key}`);
    return (u) => {
      const i = u.cursor.idx;
      place.textContent = i == null ? "" : `${xLabel(chart, u.data[0][i])}: ` +
        chart.lines.map((line, s) => `${line.label} ${number(u.data[s + 1][i])} ${chart.unit}`).join(" · ");
    };
  }

  function options(chart, width) {
    const axis = { stroke: css("--soft"), font: "11px system-ui, sans-serif", ticks: { show: false } };
    const power = (u, ticks) => ticks.map((v) => Math.abs(Math.log10(v) % 1) < 1e-6 ? v : null);
    const decades = { filter: power, grid: { ...{ stroke: css("--rule"), width: 1 }, filter: power } };
    const grid = { stroke: css("--rule"), width: 1 };
    return {
      width, height: 210, legend: { show: false }, padding: [22, 12, 0, 0],
      cursor: { sync: { key: chart.kind }, drag: { x: true, y: false }, points: { size: 7 } },
      scales: { x: { time: false }, y: chart.log ? { distr: 3 } : { range: (u, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
      axes: [
        { ...axis, grid: { show: false }, size: 30, space: 70, values: (u, ticks) => ticks.map((x) => xLabel(chart, x)),
          ...(chart.kind === "tail" ? { incrs: [1] } : {}) },
        { ...axis, grid, size: 56, ...(chart.log ? decades : {}), values: (u, ticks) => ticks.map((v) => v == null ? "" : number(v)) },
      ],
      series: [{}, ...chart.lines.map((line) => ({
        label: line.label, stroke: css(`--${line.tone}`), width: 2, dash: line.dash ? [6, 4] : undefined,
        fill: line.fill ? css(`--${line.tone}`) + "22" : undefined, points: { show: line.values.length < 2, size: 5 }, spanGaps: false,
      }))],
      hooks: { drawClear: [backdrop(chart)], draw: [annotations(chart)], setCursor: [readout(chart)] },
    };
  }

  function show(chart) {
    const place = document.getElementById(`chart-${chart.key}`);
    if (!place || !chart.x.length) return;
    const width = place.clientWidth;
    place.classList.add("live");
    const plot = new uPlot(options(chart, width), [chart.x, ...chart.lines.map((line) => line.values)], place);
    live.push({ chart, place, plot });
  }

  function redraw() {
    for (const one of live.splice(0)) one.plot.destroy();
    charts.forEach(show);
  }

  function move(event) {
    const one = live.find((l) => l.place === event.currentTarget);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!one || (!step && event.key !== "Escape")) return;
    event.preventDefault();
    const u = one.plot;
    if (event.key === "Escape") { u.setData(u.data); return; }
    const now = u.cursor.idx ?? (step > 0 ? -1 : u.data[0].length);
    const next = Math.min(u.data[0].length - 1, Math.max(0, now + step));
    u.setCursor({ left: u.valToPos(u.data[0][next], "x"), top: u.over.clientHeight / 2 });
  }

  const PAINT = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-size", "font-weight", "font-family", "text-anchor", "dominant-baseline"];
  function still(svg) {
    const copy = svg.cloneNode(true);
    const from = svg.querySelectorAll("*"), to = copy.querySelectorAll("*");
    from.forEach((element, i) => {
      const style = getComputedStyle(element);
      for (const key of PAINT) to[i].setAttribute(key, style.getPropertyValue(key));
    });
    const [, , width, height] = svg.getAttribute("viewBox").split(" ");
    copy.setAttribute("width", width);
    copy.setAttribute("height", height);
    const paper = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    paper.setAttribute("width", "100%");
    paper.setAttribute("height", "100%");
    paper.setAttribute("fill", css("--card"));
    copy.prepend(paper);
    return { text: new XMLSerializer().serializeToString(copy), width: Number(width), height: Number(height) };
  }

  function save(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  function savePng(picture, name) {
    const image = new Image();
    image.onload = () => {
      const canvas = document.createElement("canvas");
      canvas.width = picture.width * 2;
      canvas.height = picture.height * 2;
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob((blob) => save(blob, name));
    };
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(picture.text)}`;
  }

  function tools(figure) {
    const svg = figure.querySelector("svg"), caption = figure.querySelector("figcaption");
    if (!svg || !caption) return;
    const title = caption.querySelector(".chart-title").textContent;
    const name = title.toLowerCase().replace(/[^a-z0-9]+/g, "-");
    const box = document.createElement("span");
    box.className = "tools";
    for (const kind of ["SVG", "PNG"]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = kind;
      button.setAttribute("aria-label", `Save “${title}” as ${kind}`);
      button.addEventListener("click", () => {
        const picture = still(svg);
        if (kind === "SVG") save(new Blob([picture.text], { type: "image/svg+xml" }), `${name}.svg`);
        else savePng(picture, `${name}.png`);
      });
      box.append(button);
    }
    caption.append(box);
  }

  document.querySelectorAll("figure").forEach(tools);
  charts.forEach((chart) => document.getElementById(`chart-${chart.key}`)?.addEventListener("keydown", move));
  redraw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { for (const { plot, place } of live) plot.setSize({ width: place.clientWidth, height: 210 }); }, 120);
  });
})();
